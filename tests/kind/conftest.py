"""A kind cluster as surroundings of scenarios: port-forwards in the place of the played network."""

# ruff: noqa: ARG002 - methods of a protocol, some of which have nothing to look at
from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from chartproof import toolchain
from chartproof.cluster.scenario.surroundings import Queue, Surroundings
from chartproof.cluster.speed import Speed
from chartproof.errors import ClusterError
from ci.kind.__main__ import KUBECONFIG_VARIABLE

_SECONDS = 60
_REAL_TIME = Speed(1.0)


@dataclass(frozen=True, slots=True)
class KindSurroundings:
    """Time is real, nothing is altered on the way, and only Prometheus knows of queues."""

    kubeconfig: Path
    prometheus: str
    front_door: str
    speed: Speed = _REAL_TIME

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def helm_options(self, changes: Path) -> list[str]:
        return []

    def read_changes(self, changes: Path) -> list[str]:
        return []

    def usd_per_hour(self, instance: str, capacity: str) -> float:
        return 0.0

    async def queue(self, session: aiohttp.ClientSession, namespace: str, model: str) -> Queue | None:
        return None

    async def spot_notice(self, session: aiohttp.ClientSession, node: str) -> None:
        raise ClusterError("a kind cluster has no spot nodes", where=node)


@contextmanager
def forwarded(kubeconfig: Path, namespace: str, service: str, port: int) -> Iterator[str]:
    """The base URL of a Service, by `kubectl port-forward`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local = probe.getsockname()[1]
    command = [str(toolchain.resolve("kubectl")), "--kubeconfig", str(kubeconfig), "--namespace", namespace]
    with subprocess.Popen(
        [*command, "port-forward", f"service/{service}", f"{local}:{port}"], stdout=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + _SECONDS
            while not _answers(local):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ClusterError("kubectl port-forward does not answer", where=f"service/{service}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{local}"
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def surroundings(kubeconfig: Path, prometheus: str, front_door: str) -> Surroundings:
    """Checked by mypy: what scenarios need is all there."""
    return KindSurroundings(kubeconfig, prometheus, front_door)


@pytest.fixture(scope="module")
def kube_config() -> str:
    """Put the kind cluster behind the fixtures of pytest-helm-charts; skip where there is none."""
    path = os.environ.get(KUBECONFIG_VARIABLE)
    if not path:
        pytest.skip("runs in `make kind-smoke`, which makes the cluster")
    return path
