"""Monitors and alerts that values ask for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from chartproof.release import Document, Release
from tests.chart.conftest import Refusals, Render

MODEL = {"model": {"id": "Qwen/Qwen2.5-7B-Instruct"}}


def rules_of(release: Release, suffix: str = "llm-inference") -> Document:
    """The PrometheusRule whose name ends so: the model's alerts, unless another is asked for."""
    (rules,) = [each for each in release.of_kind("PrometheusRule") if each.name.endswith(suffix)]
    return rules


@pytest.mark.parametrize(
    ("monitoring", "kinds"),
    [
        ("serviceMonitor", {"ServiceMonitor"}),
        ("podMonitor", {"PodMonitor"}),
        ("annotations", set()),
        ("none", set()),
    ],
)
def test_monitoring_chooses_one_way_to_be_found(render: Render, monitoring: str, kinds: set[str]) -> None:
    release = render(MODEL, {"observability": {"monitoring": monitoring}})
    assert {each.kind for each in release.of_kind("ServiceMonitor", "PodMonitor")} == kinds
    (deployment,) = release.of_kind("Deployment")
    pod = deployment.pod_template
    assert pod is not None
    assert ("prometheus.io/scrape" in pod.annotations) == (monitoring == "annotations")


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_monitors_name_a_port_that_pods_and_service_have(render: Render, kind: str) -> None:
    release = render(MODEL, {"observability": {"monitoring": kind[0].lower() + kind[1:]}})
    (monitor,) = release.of_kind(kind)
    (endpoint,) = monitor.get("spec", "endpoints", default=monitor.get("spec", "podMetricsEndpoints"))
    (deployment,) = release.of_kind("Deployment")
    (service,) = release.of_kind("Service")
    ports = deployment.get("spec", "template", "spec", "containers", 0, "ports")
    assert endpoint["port"] in {each["name"] for each in ports}
    assert endpoint["port"] in {each["name"] for each in service.get("spec", "ports")}


def test_alerts_about_the_autoscaler_come_only_with_one(render: Render) -> None:
    def groups(**autoscaling: Any) -> set[str]:
        observability = {"monitoring": "serviceMonitor", "alerts": {"enabled": True}}
        sized = {"nodes": {"instanceTypes": ["g5.xlarge"]}, "engine": {"maxModelLen": 8192}}
        release = render(MODEL, sized, {"observability": observability, "autoscaling": autoscaling})
        rules = rules_of(release)
        return {each["name"].rpartition(".")[2] for each in rules.get("spec", "groups")}

    assert groups(enabled=True) - groups(enabled=False) == {"autoscaling"}


def test_thresholds_reach_the_alerts(render: Render) -> None:
    alerts = {"enabled": True, "waitingRequests": {"warning": 7, "critical": 77}}
    release = render(MODEL, {"observability": {"alerts": alerts}})
    rules = rules_of(release)
    expressions = {rule["alert"]: rule["expr"] for group in rules.get("spec", "groups") for rule in group["rules"]}
    assert expressions["LlmRequestsWaiting"].endswith("> 7")
    assert expressions["LlmRequestsWaitingLong"].endswith("> 77")


@pytest.mark.parametrize("threshold", ["endToEndSeconds", "waitingRequests", "failedPercent"])
def test_a_warning_above_what_pages_is_refused(refusals: Refusals, threshold: str) -> None:
    alerts = {"enabled": True, threshold: {"warning": 90, "critical": 20}}
    (line,) = refusals(MODEL, {"observability": {"alerts": alerts}})
    assert line.startswith(f"[LLM016] observability.alerts.{threshold}:")


@pytest.mark.parametrize(
    "observability",
    [
        {"monitoring": "serviceMonitor"},
        {"monitoring": "podMonitor"},
        {"alerts": {"enabled": True}},
        {"platformAlerts": {"enabled": True}},
    ],
)
def test_a_cluster_without_the_prometheus_operator_is_told_what_to_install(
    refusals: Refusals, observability: dict[str, Any]
) -> None:
    (line,) = refusals(MODEL, {"observability": observability}, api_versions=("v1/Pod",))
    assert line.startswith("[LLM012] observability.")
    assert "kube-prometheus-stack" in line


def test_the_cost_dashboard_has_a_price_of_every_priced_instance(render: Render) -> None:
    release = render({"engine": {"enabled": False}, "observability": {"platformAlerts": {"enabled": True}}})
    rules = rules_of(release, "-platform")
    (prices,) = [each["rules"] for each in rules.get("spec", "groups") if each["name"].endswith("prices")]
    recorded = {each["labels"]["instance_type"]: each["expr"] for each in prices}
    assert recorded["g5.xlarge"] == "vector(1.006)"
    assert len(recorded) > 50
