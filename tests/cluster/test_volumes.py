"""Volumes for claims, against an API server of a few dictionaries."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from chartproof.cluster.api import Api, ApiError
from chartproof.cluster.volumes import Volumes, serve


class Server:
    """What `Volumes` asks of an API server; `away` counts how often it does not answer."""

    def __init__(self, *claims: dict[str, Any], away: int = 0) -> None:
        self.claims = list(claims)
        self.volumes: dict[str, dict[str, Any]] = {}
        self.away = away
        self.served = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    def list(self, _version: str, kind: str) -> list[dict[str, Any]]:
        if self.away:
            self.away -= 1
            raise ApiError(0, "the API server does not answer", where="/")
        return self.claims if kind == "PersistentVolumeClaim" else list(self.volumes.values())

    def create(self, body: dict[str, Any]) -> None:
        self.volumes[body["metadata"]["name"]] = body
        if self.loop:
            self.loop.call_soon_threadsafe(self.served.set)

    def delete(self, _version: str, _kind: str, name: str) -> None:
        del self.volumes[name]


def _claim(phase: str = "Pending", volume: str = "") -> dict[str, Any]:
    return {
        "metadata": {"name": "weights", "namespace": "models", "uid": "7"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "efs",
            "resources": {"requests": {"storage": "100Gi"}},
            "volumeName": volume,
        },
        "status": {"phase": phase},
    }


def test_a_waiting_claim_gets_the_volume_it_asks_for() -> None:
    server = Server(_claim())
    Volumes(cast("Api", server)).step()
    [volume] = server.volumes.values()
    assert volume["spec"]["claimRef"] == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": "models",
        "name": "weights",
        "uid": "7",
    }
    assert volume["spec"]["capacity"] == {"storage": "100Gi"}
    assert (volume["spec"]["accessModes"], volume["spec"]["storageClassName"]) == (["ReadWriteMany"], "efs")


@pytest.mark.parametrize("claim", [_claim("Bound"), _claim(volume="made-by-hand")])
def test_others_get_none(claim: dict[str, Any]) -> None:
    server = Server(claim)
    Volumes(cast("Api", server)).step()
    assert server.volumes == {}


def test_released_volumes_are_removed_and_bound_ones_kept() -> None:
    server = Server()
    server.volumes = {
        name: {"metadata": {"name": name}, "status": {"phase": phase}}
        for name, phase in (("old", "Released"), ("used", "Bound"))
    }
    Volumes(cast("Api", server)).step()
    assert set(server.volumes) == {"used"}


def test_serving_waits_for_a_server_that_is_away() -> None:
    server = Server(_claim(), away=2)

    async def served() -> None:
        server.loop = asyncio.get_running_loop()
        task = asyncio.create_task(serve(cast("Api", server), pause_seconds=0.001))
        async with asyncio.timeout(30):
            await server.served.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(served())
    assert server.away == 0
