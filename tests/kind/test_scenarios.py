"""The embedded cluster's scenarios on a kind cluster: real kubelets, real networking, real time.

A port-forward leads to one pod of a Service, the oldest here: it gets the load, and stays when others go.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_helm_charts.clusters import Cluster as HelmChartsCluster
from pytest_helm_charts.k8s.deployment import wait_for_deployments_to_run

from chartproof import helm
from chartproof.cluster.api import Api
from chartproof.cluster.helm_client import HelmClient
from chartproof.cluster.scenario import runner
from chartproof.cluster.scenario.definition import SCENARIOS
from chartproof.cluster.scenario.progress import Progress
from chartproof.cluster.scenario.sizing import Sizing
from chartproof.cluster.scenario.stage import prepared, streaming_clients
from chartproof.cluster.scenario.surroundings import Surroundings
from chartproof.cluster.speed import Speed
from ci.kind.__main__ import PRESET
from tests import presets
from tests.kind.conftest import forwarded, surroundings

pytestmark = pytest.mark.kind

NAME = helm.release_name(PRESET.stem)


@pytest.fixture(scope="module")
def sizing() -> Sizing:
    (found,) = prepared(PRESET, presets.CHART, Speed(1.0))
    return found


@pytest.fixture(scope="module")
def installed(kube_cluster: HelmChartsCluster, sizing: Sizing) -> Iterator[Path]:
    """The kubeconfig of the cluster, with the preset installed and its first replica ready."""
    assert kube_cluster.kube_config_path
    kubeconfig = Path(kube_cluster.kube_config_path)
    client = HelmClient(presets.CHART, surroundings(kubeconfig, "", "").environment())
    assert client.install(NAME, PRESET, "--create-namespace") == ""
    kube_client = kube_cluster.kube_client
    assert kube_client is not None
    wait_for_deployments_to_run(kube_client, [sizing.autoscaler.target_name], NAME, timeout_sec=600)
    yield kubeconfig
    assert client.uninstall(NAME, "--wait") == ""


@pytest.fixture
def place(installed: Path, sizing: Sizing) -> Iterator[Surroundings]:
    service = next(each for each in sizing.subject.release.of_kind("Service"))
    with (
        forwarded(installed, "monitoring", "prometheus-operated", 9090) as prometheus,
        forwarded(installed, NAME, service.name, service.get("spec", "ports")[0]["port"]) as front_door,
    ):
        yield surroundings(installed, prometheus, front_door)


@pytest.mark.parametrize("scenario", ["burst"])
def test_scenario(place: Surroundings, sizing: Sizing, scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    stage = runner.Stage(
        preset=PRESET.stem,
        sizing=sizing,
        surroundings=place,
        api=Api(place.kubeconfig),
        clients=streaming_clients(place, sizing),
        upgrade=lambda: "not on kind",
    )
    with capsys.disabled():
        result = asyncio.run(runner.run(SCENARIOS[scenario], stage, Progress(sys.stderr)))
    assert result.problems == ()
