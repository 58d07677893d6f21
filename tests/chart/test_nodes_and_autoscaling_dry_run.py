"""What no preset uses, on a real API server: its definitions decide, CEL rules included."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
import yaml

from chartproof import cluster, toolchain
from chartproof.cluster import Cluster
from tests.chart.conftest import Render, Values, merged
from tests.chart.test_autoscaling import ASLEEP, FIRST_TOKEN, KV_CACHE, OFFICE_HOURS, SCALED
from tests.chart.test_multi_node import SCALED as GROUPS
from tests.chart.test_nodes import AL2023, POOLS, SPOT
from tests.chart.test_subcharts import EXPORTER, PLUGIN
from tests.presets import CHART

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
    # LeaderWorkerSet's webhooks judge too.
    "groups": merged(GROUPS, {"multiNode": {"nodes": 3, "restartPolicy": "RecreateGroupOnPodRestart"}}),
    "groups apart": merged(GROUPS, {"multiNode": {"placement": {"exclusive": True}}, "engine": {"type": "sglang"}}),
    "groups with adapters": merged(
        GROUPS,
        {
            "engine": {"image": {"repository": "acme/vllm-efa"}, "rollout": {"acceptDowntime": True}},
            "multiNode": {"efa": {"enabled": True, "hugePagesGibibytes": 5}},
            "nodes": {"provider": "existing"},
        },
    ),
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
    # The pod of `helm test` is taken once its account is there, which a dry run does not make.
    release = render(values, {"helmTest": {"enabled": False}})
    assert release.documents
    assert cluster.dry_run(embedded_cluster, release) == []


def test_a_real_cluster_without_keda_is_told_before_anything_is_installed(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(merged(SCALED)), encoding="utf-8")
    with cluster.running("without-keda", state_dir=tmp_path / "clusters") as own:
        own.api.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", "scaledobjects.keda.sh")
        until = time.monotonic() + 30
        while ("keda.sh/v1alpha1", "ScaledObject") in own.api.resources and time.monotonic() < until:
            time.sleep(0.2)
            own.api.forget_resources()
        kubeconfig = str(own.place.kubeconfig)
        for dry_run, refused in (("server", True), ("client", False)):
            done = subprocess.run(
                [
                    toolchain.resolve("helm"),
                    *("install", "llm", str(CHART), "--values", str(values)),
                    *("--kubeconfig", kubeconfig, f"--dry-run={dry_run}"),
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
            assert (done.returncode != 0) is refused, done.stderr
            assert ("[LLM012] autoscaling.enabled: " in done.stderr) is refused


def test_names_that_look_like_numbers_stay_names(embedded_cluster: Cluster, render: Render) -> None:
    numeric = merged(
        POOLS,
        SCALED,
        AL2023,
        EXPORTER,
        PLUGIN,
        {
            "autoscaling": {"prometheus": {"authentication": {"mode": "basic", "existingSecret": "0"}}},
            "nodes": {
                "poolName": "12",
                "labels": {"team": "7"},
                "nodeClass": {"name": "34", "role": "56", "subnetTags": {"id": "78"}},
                "zones": ["1"],
            },
            "dcgm-exporter": {"imagePullSecrets": ["9"], "serviceMonitor": {"enabled": True}},
        },
    )
    assert cluster.dry_run(embedded_cluster, render(numeric)) == []
