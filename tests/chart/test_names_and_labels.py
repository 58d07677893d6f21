"""Names, labels and selectors of what the chart renders."""

from __future__ import annotations

import pytest

from chartproof.release import selector_matches
from tests.chart.conftest import Render, Values
from tests.presets import STEMS
from tests.presets import render as render_preset

G6E: Values = {"nodes": {"instanceTypes": ["g6e.2xlarge"]}}
VOLUME: Values = {"weights": {"delivery": "volume"}}


def test_release_that_is_named_like_the_chart_is_not_named_twice(render: Render) -> None:
    (deployment,) = render(G6E, name="my-llm-inference").of_kind("Deployment")
    assert deployment.name == "my-llm-inference"
    (deployment,) = render(G6E, name="qwen").of_kind("Deployment")
    assert deployment.name == "qwen-llm-inference"
    (deployment,) = render(G6E, {"fullnameOverride": "chat"}, name="qwen").of_kind("Deployment")
    assert deployment.name == "chat"


def test_longest_release_names_stay_distinct_and_within_limits(render: Render) -> None:
    long = "a" * 52
    first, second = (render(G6E, VOLUME, name=f"{long}{last}") for last in "xy")
    names = [{(each.kind, each.name) for each in release.documents} for release in (first, second)]
    assert not names[0] & names[1]
    for _, name in names[0] | names[1]:
        assert len(name) <= 63
    (deployment,) = first.of_kind("Deployment")
    assert len(deployment.name) <= 46, "KEDA's HPA is named keda-hpa-<name>"


@pytest.mark.parametrize("stem", STEMS)
def test_selectors_catch_their_own_component_only(stem: str) -> None:
    release = render_preset(stem)
    for document in release.workloads:
        selector = document.get("spec", "selector")
        if document.kind not in {"Deployment", "DaemonSet"} or document.pod_template is None:
            continue
        caught = [
            each.name
            for each in release.workloads
            if each.pod_template and selector_matches(selector, each.pod_template.labels)
        ]
        assert caught == [document.name]


def test_chart_version_is_no_pod_label(render: Render) -> None:
    """It would restart every replica, and load every model anew, when only the chart's version changed."""
    (deployment,) = render(G6E).of_kind("Deployment")
    assert "helm.sh/chart" in deployment.body["metadata"]["labels"]
    assert "helm.sh/chart" not in deployment.get("spec", "template", "metadata", "labels")


def test_common_and_pod_labels_reach_the_pods(render: Render) -> None:
    labels = {"commonLabels": {"team": "search", "tier": "a"}, "engine": {"podLabels": {"tier": "b"}}}
    (deployment,) = render(G6E, labels).of_kind("Deployment")
    assert deployment.body["metadata"]["labels"]["tier"] == "a"
    pod = deployment.get("spec", "template", "metadata", "labels")
    assert (pod["team"], pod["tier"]) == ("search", "b")


def test_everything_lives_in_the_release_namespace(render: Render) -> None:
    for document in render(G6E, VOLUME, namespace="models").documents:
        assert document.namespace == "models"
