"""Plays the storage drivers: a volume for every claim, taken back when the claim is gone."""

from __future__ import annotations

from chartproof.cluster.api import Api
from chartproof.cluster.objects import volume_for
from chartproof.release import dig


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
