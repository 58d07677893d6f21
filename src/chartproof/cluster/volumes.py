"""Plays the storage drivers: a volume for every claim, taken back when the claim is gone.

One step after the other (`Volumes.step`), or for as long as the program runs (`serve`).
"""

from __future__ import annotations

import asyncio
import logging

from chartproof.cluster.api import Api, ApiError
from chartproof.cluster.objects import volume_for
from chartproof.release import dig

_PAUSE_SECONDS = 0.5

log = logging.getLogger(__name__)


class Volumes:
    """One cluster's volumes; they exist as objects only, nothing is ever mounted."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def step(self) -> None:
        """Look once: give claims what they ask for, remove what was released. Raises ApiError."""
        for claim in self._api.list("v1", "PersistentVolumeClaim"):
            if dig(claim, "status", "phase") == "Pending" and not dig(claim, "spec", "volumeName"):
                self._api.create(volume_for(claim))
        for volume in self._api.list("v1", "PersistentVolume"):
            if dig(volume, "status", "phase") == "Released":
                self._api.delete("v1", "PersistentVolume", volume["metadata"]["name"])


async def serve(api: Api, pause_seconds: float = _PAUSE_SECONDS) -> None:
    """Look again and again until cancelled; a server that is away is waited for."""
    volumes = Volumes(api)
    while True:
        try:
            await asyncio.to_thread(volumes.step)
        except ApiError as error:
            log.warning("volumes: %s", error)
        await asyncio.sleep(pause_seconds)
