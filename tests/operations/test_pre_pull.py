"""The DaemonSet that pulls images to nodes which stand ready."""

from __future__ import annotations

from typing import Any

import pytest

from chartproof.release import Document, Release
from tests import presets

pytestmark = pytest.mark.slow

ON = "prePull: {enabled: true, furtherImages: ['vllm/vllm-openai:v0.34.0']}"


def _daemon_set(release: Release, suffix: str = "-pre-pull") -> Document:
    (found,) = [each for each in release.of_kind("DaemonSet") if each.name.endswith(suffix)]
    return found


def _pod(document: Document) -> dict[str, Any]:
    pod: dict[str, Any] = document.get("spec", "template", "spec")
    return pod


@pytest.mark.parametrize(
    "stem", ["mistral-7b-generic", "llama-3.1-8b-awq-g6-managed", "qwen3-32b-l40s-hybrid", "gpt-oss-120b-p5-reserved"]
)
def test_it_goes_where_replicas_go_and_asks_for_no_gpu(stem: str) -> None:
    ready = "" if stem != "gpt-oss-120b-p5-reserved" else "\nnodes: {tiers: {reserved: {nodes: 1}}}"
    release = presets.render(stem, ON + ready)
    pod = _pod(_daemon_set(release))
    (deployment,) = release.of_kind("Deployment")
    replica = deployment.get("spec", "template", "spec")
    assert pod["nodeSelector"] == replica["nodeSelector"]
    assert pod["tolerations"] == replica["tolerations"]
    assert pod["affinity"]["nodeAffinity"] == replica["affinity"]["nodeAffinity"]
    assert "gpu" not in str([each["resources"] for each in (*pod["initContainers"], *pod["containers"])])


def test_it_pulls_the_engine_s_image_and_the_further_ones() -> None:
    release = presets.render("mistral-7b-generic", ON)
    (deployment,) = release.of_kind("Deployment")
    image = deployment.get("spec", "template", "spec", "containers", 0, "image")
    pulled = [each["image"] for each in _pod(_daemon_set(release))["initContainers"]]
    assert pulled == [image, "vllm/vllm-openai:v0.34.0"]


def test_each_role_has_its_own_because_each_has_its_pool() -> None:
    values = "prePull: {enabled: true}\nnodes: {spareReplicas: 1}"
    release = presets.render("llama-3.3-70b-fp8-g7e-disaggregated", values)
    sets = [_daemon_set(release, f"-{role}-pre-pull") for role in ("prefill", "decode")]
    assert len({str(_pod(each)["nodeSelector"]) for each in sets}) == 2
    assert len({str(each.get("spec", "selector", "matchLabels")) for each in sets}) == 2


def test_the_engine_s_service_and_budget_leave_it_alone() -> None:
    release = presets.render("mistral-7b-generic", ON)
    labels = _daemon_set(release).get("spec", "template", "metadata", "labels")
    for each in release.of_kind("Service", "PodDisruptionBudget"):
        selector = each.get("spec", "selector")
        selector = selector.get("matchLabels", selector)
        assert not selector.items() <= labels.items()
