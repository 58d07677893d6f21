"""kube-state-metrics, which tells Prometheus of the objects on the API server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from chartproof.cluster.live import LiveSettings
from chartproof.cluster.ports import LOOPBACK
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.state import Place


def process(place: Place, settings: LiveSettings, programs: Mapping[str, Path]) -> ProcessSpec:
    """It asks for every kind of object that it knows by default; it needs no objects of its own."""
    return ProcessSpec(
        "kube-state-metrics",
        (
            str(programs["kube-state-metrics"]),
            f"--kubeconfig={place.kubeconfig}",
            f"--host={LOOPBACK}",
            f"--port={settings.kube_state_metrics_port}",
            f"--telemetry-host={LOOPBACK}",
            f"--telemetry-port={settings.kube_state_metrics_own_port}",
        ),
        health=f"http://{LOOPBACK}:{settings.kube_state_metrics_port}/healthz",
    )
