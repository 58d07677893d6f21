"""The chart derives numbers in its templates, the plan from the rendered manifests: they must agree."""

from __future__ import annotations

import math

import pytest
import yaml

from chartproof.plan import WorkloadPlan, plan_release
from chartproof.release import Document, Release
from tests import presets

MODELS = [stem for stem in presets.STEMS if not stem.startswith("platform-")]


@pytest.fixture(scope="module", params=MODELS)
def release(request: pytest.FixtureRequest) -> Release:
    return presets.render(request.param)


@pytest.fixture(scope="module")
def plans(release: Release) -> tuple[WorkloadPlan, ...]:
    """One plan, or one for each role of a disaggregated release."""
    found = plan_release(release)
    assert found
    return tuple(found)


@pytest.fixture
def scaled(release: Release, plans: tuple[WorkloadPlan, ...]) -> list[tuple[Document, WorkloadPlan]]:
    """Each ScaledObject with the plan of what it scales."""
    workloads = {each.container.document.name: each for each in plans}
    found = list(release.of_kind("ScaledObject"))
    if not found:
        pytest.skip("this preset has a fixed number of replicas")
    return [(each, workloads[each.get("spec", "scaleTargetRef", "name")]) for each in found]


def test_every_preset_fits_every_gpu_it_may_run_on(plans: tuple[WorkloadPlan, ...]) -> None:
    for plan in plans:
        assert plan.fits
        assert all(each.fits for each in plan.fits)


def test_the_autoscaling_target_is_stated_or_what_the_plan_says_a_replica_holds(
    scaled: list[tuple[Document, WorkloadPlan]], release: Release
) -> None:
    values = yaml.safe_load(presets.path_of(release.name).read_text(encoding="utf-8"))
    stated = values["autoscaling"].get("targetPerReplica")
    for scaled_object, plan in scaled:
        assert scaled_object.get("spec", "advanced", "scalingModifiers", "target") == str(stated or plan.target)


def test_cooldown_and_scale_down_window_cover_the_planned_cold_start(
    scaled: list[tuple[Document, WorkloadPlan]],
) -> None:
    for scaled_object, plan in scaled:
        seconds = math.ceil(plan.cold_start.seconds)
        assert scaled_object.get("spec", "cooldownPeriod") == max(300, 2 * seconds)
        down = scaled_object.get("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown")
        assert down["stabilizationWindowSeconds"] == max(300, seconds)


def test_the_startup_budget_is_three_times_the_planned_load_and_start(plans: tuple[WorkloadPlan, ...]) -> None:
    for plan in plans:
        probe = plan.container.container["startupProbe"]
        budget = probe["failureThreshold"] * probe.get("periodSeconds", 10)
        assert budget >= max(600, 3 * plan.cold_start.in_container_seconds)
        assert budget <= max(600, 3 * plan.cold_start.in_container_seconds) + 30


def test_the_header_of_a_preset_says_its_price(release: Release, plans: tuple[WorkloadPlan, ...]) -> None:
    text = presets.path_of(release.name).read_text()
    costs = next(line for line in text.splitlines() if line.startswith("# Costs:"))
    for plan in plans:
        assert f"${plan.usd_per_hour:.3f} per replica-hour ({plan.candidates[0].name} " in costs
