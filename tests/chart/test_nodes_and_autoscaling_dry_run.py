"""What no preset uses, on a real API server: its definitions decide, CEL rules included."""

from __future__ import annotations

import pytest

from chartproof import cluster
from chartproof.cluster import Cluster
from tests.chart.conftest import Render, Values, merged
from tests.chart.test_autoscaling import ASLEEP, FIRST_TOKEN, KV_CACHE, OFFICE_HOURS, SCALED
from tests.chart.test_nodes import AL2023, POOLS, SPOT
from tests.chart.test_subcharts import EXPORTER, PLUGIN

pytestmark = pytest.mark.cluster

MODES: tuple[Values, ...] = (
    {"mode": "bearer", "existingSecret": "login"},
    {"mode": "basic", "existingSecret": "login"},
    {"mode": "sigv4", "awsRegion": "eu-central-1"},
)
CASES: dict[str, Values] = {
    "all signals": merged(SCALED, KV_CACHE, FIRST_TOKEN, OFFICE_HOURS, ASLEEP),
    "OpenTelemetry": merged(SCALED, KV_CACHE, OFFICE_HOURS, {"autoscaling": {"source": "opentelemetry"}}),
    **{
        f"login {mode['mode']}": merged(SCALED, {"autoscaling": {"prometheus": {"authentication": mode}}})
        for mode in MODES
    },
    "tiers": merged(POOLS, SPOT, {"nodes": {"zones": ["eu-central-1a"], "labels": {"team": "search"}}}),
    "AL2023": merged(POOLS, AL2023, {"nodes": {"nodeClass": {"tags": {"cost": "search"}}}}),
    "volumes": merged(POOLS, {"nodes": {"nodeClass": {"instanceStoreRaid0": False}}}),
    "never": merged(POOLS, {"nodes": {"expireAfter": "Never", "disruption": {"consolidateAfter": "Never"}}}),
    "agents": merged(
        AL2023,
        EXPORTER,
        PLUGIN,
        {
            "dcgm-exporter": {"serviceMonitor": {"enabled": True}},
            "device-plugin": {"gpuFeatureDiscovery": {"enabled": True}},
        },
    ),
}


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_the_api_server_takes_every_document(embedded_cluster: Cluster, render: Render, values: Values) -> None:
    release = render(values)
    assert release.documents
    assert cluster.dry_run(embedded_cluster, release) == []
