"""Volumes for claims, against an API server of a few dictionaries."""

from __future__ import annotations

from typing import Any, cast

import pytest

from chartproof.cluster.api import Api
from chartproof.cluster.volumes import Volumes


class Server:
    """What `Volumes` asks of an API server."""

    def __init__(self, *claims: dict[str, Any]) -> None:
        self.claims = list(claims)
        self.volumes: dict[str, dict[str, Any]] = {}

    def list(self, _version: str, kind: str) -> list[dict[str, Any]]:
        return self.claims if kind == "PersistentVolumeClaim" else list(self.volumes.values())

    def create(self, body: dict[str, Any]) -> None:
        self.volumes[body["metadata"]["name"]] = body

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
