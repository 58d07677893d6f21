"""What a scenario needs of the place that it runs in: everything that is not an ordinary Kubernetes API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from chartproof.catalog import catalog
from chartproof.cluster import post_renderer
from chartproof.cluster.addons.karpenter import SPOT_SHARE
from chartproof.cluster.embedded import Cluster
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.ports import LOOPBACK
from chartproof.cluster.speed import Speed
from chartproof.errors import ClusterError

_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Queue:
    """Requests of one model: in batches, waiting in engines, and held by the front door."""

    running: float
    waiting: float
    held: float


class Surroundings(Protocol):
    """A cluster with KEDA, a Prometheus and a front door.

    Prometheus and front door are given by their base URLs, as this machine reaches them.
    """

    @property
    def speed(self) -> Speed:
        """Simulated seconds in a real one."""

    @property
    def kubeconfig(self) -> Path:
        """Access to its API server."""

    @property
    def prometheus(self) -> str:
        """Its Prometheus."""

    @property
    def front_door(self) -> str:
        """Where clients send requests: `/v1/...`, told apart by the model they name."""

    def environment(self) -> Mapping[str, str]:
        """For helm."""

    def helm_options(self, changes: Path) -> list[str]:
        """What `helm install` and `upgrade` need here; `changes` is a file for what they alter on the way."""

    def read_changes(self, changes: Path) -> list[str]:
        """What was altered. Raises ClusterError where that failed."""

    def usd_per_hour(self, instance: str, capacity: str) -> float:
        """Price of a node; 0 where it is not known."""

    async def queue(self, session: aiohttp.ClientSession, namespace: str, model: str) -> Queue | None:
        """Requests of a model now; None where only Prometheus knows."""

    async def spot_notice(self, session: aiohttp.ClientSession, node: str) -> None:
        """Announce that a spot node is taken back. Raises ClusterError where that cannot be done."""


class Embedded:
    """The embedded cluster with its live loop. Raises ClusterError where it has none."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._settings = cluster.live or LiveSettings.load(cluster.place.directory)
        environment = cluster.environment()
        post_renderer.install(Path(environment["HELM_DATA_HOME"]), self.speed.factor)

    @property
    def speed(self) -> Speed:
        """Simulated seconds in a real one."""
        return self._settings.pace

    @property
    def kubeconfig(self) -> Path:
        """Access to its API server."""
        return self._cluster.kubeconfig

    @property
    def prometheus(self) -> str:
        """The real Prometheus."""
        return f"http://{LOOPBACK}:{self._settings.prometheus_port}"

    @property
    def front_door(self) -> str:
        """The played ingress."""
        return f"http://{LOOPBACK}:{self._settings.front_door_port}"

    def environment(self) -> Mapping[str, str]:
        """For helm."""
        return self._cluster.environment()

    def helm_options(self, changes: Path) -> list[str]:
        """Durations are divided by the speed on their way in."""
        return post_renderer.options(changes)

    def read_changes(self, changes: Path) -> list[str]:
        """What was divided."""
        return post_renderer.read_changes(changes)

    def usd_per_hour(self, instance: str, capacity: str) -> float:
        """Price of a node as its Karpenter reckons it."""
        known = catalog().instances.get(instance)
        share = SPOT_SHARE if capacity == "spot" else 1.0
        return (known.usd_per_hour or 0.0) * share if known else 0.0

    async def queue(self, session: aiohttp.ClientSession, namespace: str, model: str) -> Queue | None:
        """What the engines themselves say."""
        try:
            async with session.get(self._control("state")) as response:
                return queue_of(await response.json(), namespace, model)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None

    async def spot_notice(self, session: aiohttp.ClientSession, node: str) -> None:
        """Ask the played machines."""
        try:
            async with session.post(self._control(f"nodes/{node}/spot-notice")) as response:
                body = await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ClusterError(f"the machines do not answer: {error!r}", where=node) from error
        if response.status >= 400:  # noqa: PLR2004 - HTTP's errors
            raise ClusterError(str(body.get("error")), where=node)

    def _control(self, path: str) -> str:
        return f"http://{LOOPBACK}:{self._settings.control_port}/{path}"


def queue_of(state: Mapping[str, Any], namespace: str, model: str) -> Queue:
    """Requests of a model in an answer of the control API."""
    engines = [each for each in state.get("engines") or () if (each["namespace"], each["model"]) == (namespace, model)]
    return Queue(
        running=sum(each["running"] for each in engines),
        waiting=sum(each["waiting"] for each in engines),
        held=dict(state.get("held") or {}).get(model, 0),
    )
