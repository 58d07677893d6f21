"""The live loop: what runs beside the control plane where autoscaling is to be seen at work."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from chartproof.cluster.ports import free_ports
from chartproof.cluster.speed import DEFAULT_SPEED, Speed
from chartproof.errors import ClusterError

_FILE = "live.json"


@dataclass(frozen=True, slots=True)
class Live:
    """That a cluster shall be live, and how fast. Raises UsageError for a speed that is none."""

    speed: float = DEFAULT_SPEED.factor

    def __post_init__(self) -> None:
        Speed(self.speed)

    @property
    def pace(self) -> Speed:
        """The speed, to convert durations with."""
        return Speed(self.speed)


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How fast a live cluster's time runs, and on which loopback ports its parts listen."""

    speed: float
    """Simulated seconds in a real one."""
    network_port: int
    """The pod network: an HTTP forward proxy that knows pod addresses and Service names."""
    front_door_port: int
    """The ingress in front of every engine."""
    control_port: int
    """Faults and state of the played machines, as JSON."""
    prometheus_port: int
    keda_metrics_port: int
    """Metrics of KEDA's operator."""
    keda_health_port: int
    keda_service_port: int
    """Where the operator answers the adapter (gRPC)."""
    keda_adapter_port: int
    """External metrics API, to which the API server forwards."""
    keda_adapter_metrics_port: int
    keda_webhooks_port: int
    keda_webhooks_metrics_port: int
    keda_webhooks_health_port: int
    prometheus_operator_port: int
    config_reloader_port: int
    kube_state_metrics_port: int
    kube_state_metrics_own_port: int
    """Metrics about kube-state-metrics itself."""
    karpenter_metrics_port: int
    karpenter_health_port: int
    lws_webhooks_port: int
    lws_health_port: int
    lws_metrics_port: int

    @classmethod
    def choose(cls, speed: Speed = DEFAULT_SPEED) -> Self:
        """Settings with ports that are free now."""
        names = [each.name for each in fields(cls) if each.name.endswith("_port")]
        return cls(speed.factor, **dict(zip(names, free_ports(len(names)), strict=True)))

    @property
    def pace(self) -> Speed:
        """The speed, to convert durations with."""
        return Speed(self.speed)

    def save(self, directory: Path) -> None:
        """Write them down for the processes of the cluster in `directory`."""
        (directory / _FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The settings of the live cluster in `directory`; raises ClusterError where there is none."""
        found = cls.find(directory)
        if found is None:
            raise ClusterError(
                "this cluster has no live loop",
                where=str(directory),
                how="start one without --light: chartproof cluster up",
            )
        return found

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """The same, or None where the cluster is a light one."""
        try:
            return cls(**json.loads((directory / _FILE).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
