"""Writes events as a kubelet's recorder does: repetitions are counted, and a noisy pod is cut off.

Best effort, also in the real kubelet: an event that cannot be written is lost, and nothing waits for one.
Sources: client-go `tools/record/events_cache.go` (25 events at once for a pod, then one in 300 s).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chartproof.cluster.api import ApiError
from chartproof.cluster.machines.lifecycle import Event, field_path, timestamp
from chartproof.cluster.machines.watch import MERGE, Client, path_of
from chartproof.cluster.speed import Speed
from chartproof.release import dig

Body = Mapping[str, Any]

_BURST = 25.0
_REFILL_SECONDS = 300.0
_LONGEST_MESSAGE = 1024

log = logging.getLogger(__name__)

Key = tuple[str, Event]
"""A pod's uid and what happened: the same again is the same event, counted."""


@dataclass(slots=True)
class _Known:
    """An event that was recorded: its object on the server (empty: not written yet) and how often it happened."""

    body: dict[str, Any]
    name: str = ""


@dataclass(slots=True)
class _Allowance:
    """Events that may still be written about one pod; refilled as simulated time goes by."""

    left: float = _BURST
    at: float = 0.0

    def take(self, now: float) -> bool:
        self.left = min(_BURST, self.left + (now - self.at) / _REFILL_SECONDS)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Recorder:
    """Events about pods. `record` returns at once; `run` writes what was recorded."""

    def __init__(self, client: Client, speed: Speed, now: Callable[[], datetime]) -> None:
        self._client = client
        self._speed = speed
        self._now = now
        self._known: dict[Key, _Known] = {}
        self._allowances: dict[str, _Allowance] = {}
        # In the order they first happened; what is repeated before it is written is written once.
        self._pending: dict[Key, None] = {}
        self._some = asyncio.Event()

    def record(self, pod: Body, event: Event) -> None:
        """Note that something happened to a pod."""
        uid = pod["metadata"].get("uid", "")
        allowance = self._allowances.setdefault(uid, _Allowance())
        if not allowance.take(self._speed.simulated(asyncio.get_running_loop().time())):
            return
        key = uid, event
        known = self._known.setdefault(key, _Known(self._body(pod, event)))
        known.body["count"] += 1
        known.body["lastTimestamp"] = timestamp(self._now())
        self._pending[key] = None
        self._some.set()

    def forget(self, uid: str) -> None:
        """The pod is gone: what is recorded about another of its name is new."""
        self._allowances.pop(uid, None)
        for key in [each for each in self._known if each[0] == uid and each not in self._pending]:
            del self._known[key]

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._pending:
                key = next(iter(self._pending))
                del self._pending[key]
                try:
                    await self._write(self._known[key])
                except ApiError as error:
                    log.info("an event was lost: %s", error)
                if key[0] not in self._allowances and key not in self._pending:
                    self._known.pop(key, None)

    async def _write(self, known: _Known) -> None:
        namespace = known.body["metadata"]["namespace"]
        if known.name:
            change = {key: known.body[key] for key in ("count", "lastTimestamp")}
            path = path_of("v1", "events", namespace, known.name)
            await self._client.request("PATCH", path, body=change, content_type=MERGE)
        else:
            await self._client.request("POST", path_of("v1", "events", namespace), body=known.body)
            known.name = known.body["metadata"]["name"]

    def _body(self, pod: Body, event: Event) -> dict[str, Any]:
        metadata = pod["metadata"]
        node = dig(pod, "spec", "nodeName", default="")
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata['name'][:200]}.{secrets.token_hex(8)}",
                "namespace": metadata["namespace"],
            },
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata.get("uid", ""),
                "fieldPath": field_path(pod, event.container),
            },
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "message": event.message[:_LONGEST_MESSAGE],
            "source": {"component": "kubelet", "host": node},
            "reportingComponent": "kubelet",
            "reportingInstance": node,
            "firstTimestamp": timestamp(self._now()),
            "count": 0,
        }
