"""The fixtures of pytest-helm-charts work against the embedded cluster."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from pytest_helm_charts.clusters import Cluster as HelmChartsCluster
from pytest_helm_charts.k8s.deployment import wait_for_deployments_to_run

from chartproof import helm, toolchain
from chartproof.cluster import Cluster
from tests import presets

# Together with the presets: this installs the same platform.
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("presets")]

PRESET = "llama-3.1-8b-awq-g6"


@pytest.fixture
def installed(embedded_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("PATH", f"{toolchain.resolve('kubectl').parent}{os.pathsep}{os.environ['PATH']}")

    def run(*words: str) -> None:
        command = [str(toolchain.resolve("helm")), *words]
        subprocess.run(command, env=embedded_cluster.environment(), check=True, capture_output=True)

    name = helm.release_name(PRESET)
    for release, stem in (("platform", "platform-eks"), (name, PRESET)):
        values = str(presets.path_of(stem))
        run("install", release, str(presets.CHART), "-f", values, "-n", release, "--create-namespace")
    yield name
    for release in (name, "platform"):
        run("uninstall", release, "-n", release, "--wait")


def test_a_deployment_of_a_preset_runs(kube_cluster: HelmChartsCluster, installed: str) -> None:
    [engine] = kube_cluster.kubectl(f"get deployments --namespace {installed}")
    name = engine["metadata"]["name"]
    client = kube_cluster.kube_client
    assert client is not None
    [running] = wait_for_deployments_to_run(client, [name], installed, timeout_sec=30)
    assert running.obj["status"]["readyReplicas"] == 1
