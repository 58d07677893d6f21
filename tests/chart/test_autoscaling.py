"""The ScaledObject and its TriggerAuthentication."""

from __future__ import annotations

import itertools
import json
import subprocess
from typing import Any

import pytest

from chartproof import toolchain
from chartproof.catalog import catalog
from chartproof.languages import promql
from chartproof.plan.workload_plan import plan_release
from chartproof.release import Document
from tests.chart.conftest import Render, Values, merged
from tests.presets import STEMS
from tests.presets import render as render_preset

SCALED: Values = {
    "autoscaling": {"enabled": True, "targetPerReplica": 25},
    "observability": {"monitoring": "podMonitor"},
    "nodes": {"instanceTypes": ["g6e.xlarge"]},
}
KV_CACHE: Values = {"autoscaling": {"signals": {"kvCache": {"enabled": True}}}}
FIRST_TOKEN: Values = {"autoscaling": {"signals": {"timeToFirstToken": {"enabled": True}}}}
TOKENS: Values = {"autoscaling": {"signals": {"tokens": {"enabled": True}}}}
OFFICE_HOURS: Values = {"autoscaling": {"officeHours": {"enabled": True, "replicas": 2}}}
ASLEEP: Values = {"autoscaling": {"minReplicas": 0, "wake": {"query": "sum(rate(requests_total[1m]))"}}}


def scaled_object(render: Render, *layers: Values, **options: Any) -> Document:
    (found,) = render(SCALED, *layers, **options).of_kind("ScaledObject")
    return found


def triggers(document: Document) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document.get("spec", "triggers")}


def formula(document: Document) -> str:
    return str(document.get("spec", "advanced", "scalingModifiers", "formula"))


def judge(questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What KEDA's own code makes of formulas."""
    done = subprocess.run(
        [toolchain.resolve("formula")],
        input="\n".join(json.dumps(each) for each in questions),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def value(text: str, **measured: float) -> float:
    (answer,) = judge([{"formula": text, "triggers": measured}])
    assert answer["ok"], answer
    return float(answer["value"])


def test_every_combination_of_signals_makes_a_formula_that_keda_compiles(render: Render) -> None:
    switches = (TOKENS, KV_CACHE, FIRST_TOKEN, OFFICE_HOURS, ASLEEP)
    questions = []
    for chosen in itertools.product((False, True), repeat=len(switches)):
        document = scaled_object(render, *(each for each, on in zip(switches, chosen, strict=True) if on))
        questions.append({"formula": formula(document), "triggers": dict.fromkeys(triggers(document), 1.0)})
    answers = judge(questions)
    assert [each for each in answers if not each["ok"]] == []
    assert len({each["formula"] for each in questions}) == 2 ** len(switches)


def test_formulas_never_divide(render: Render) -> None:
    document = scaled_object(render, TOKENS, KV_CACHE, FIRST_TOKEN, OFFICE_HOURS, ASLEEP)
    assert "/" not in formula(document)


def test_formula_reads_exactly_the_triggers(render: Render) -> None:
    document = scaled_object(render, TOKENS, KV_CACHE, FIRST_TOKEN, OFFICE_HOURS, ASLEEP)
    names = ["running", "waiting", "tokens", "kv_cache", "ttft", "replicas", "wake", "office_hours"]
    assert list(triggers(document)) == names
    for name in triggers(document):
        rest = {other: 1.0 for other in triggers(document) if other != name}
        (answer,) = judge([{"formula": formula(document), "triggers": rest}])
        assert not answer["ok"], f"{name} is not read"


def test_waiting_requests_weigh_what_values_say(render: Render) -> None:
    assert formula(scaled_object(render)) == "running + waiting"
    assert formula(scaled_object(render, {"autoscaling": {"waitingWeight": 10}})) == "running + waiting * 10"
    assert formula(scaled_object(render, {"autoscaling": {"waitingWeight": 0}})) == "running"
    assert formula(scaled_object(render, {"autoscaling": {"waitingWeight": 2.5}})) == "running + waiting * 2.5"


def test_tokens_ask_for_the_replicas_that_compute_them(render: Render) -> None:
    document = scaled_object(render, TOKENS, {"autoscaling": {"signals": {"tokens": {"targetPercent": 50}}}})
    # Three replicas' worth of work, half of which each may do.
    assert value(formula(document), running=1, waiting=0, tokens=3.0) / 25 == pytest.approx(6)


def test_a_replicas_worth_of_tokens_is_what_the_catalog_says_of_model_and_gpu(render: Render) -> None:
    model = {"model": {"id": "Qwen/Qwen3-8B"}, "autoscaling": {"stepMilliseconds": 40}}
    query = triggers(scaled_object(render, TOKENS, model))["tokens"]["metadata"]["query"]
    profile = catalog().profile("l40s", "Qwen/Qwen3-8B", "bf16", 1)
    assert profile is not None
    batch = profile.largest_batch(40)
    assert f"/ {profile.prefill_tokens_per_second:.0f}\n" in query
    assert f"/ {int(batch * 1000 / profile.step_milliseconds(batch))}\n" in query
    told = {"promptTokensPerSecond": 1234, "answerTokensPerSecond": 567}
    query = triggers(scaled_object(render, TOKENS, {"autoscaling": {"signals": {"tokens": told}}}))["tokens"]
    assert "/ 1234\n" in query["metadata"]["query"]
    assert "/ 567\n" in query["metadata"]["query"]


def test_a_mean_over_time_is_taken_of_running_requests_and_of_tokens_only(render: Render) -> None:
    found = triggers(scaled_object(render, TOKENS, KV_CACHE, {"autoscaling": {"averageSeconds": 90}}))
    assert "sum(avg_over_time(vllm:num_requests_running{" in found["running"]["metadata"]["query"]
    assert found["running"]["metadata"]["query"].count("[90s]") == 1
    assert found["tokens"]["metadata"]["query"].count("[90s]") == 4
    for name in ("waiting", "kv_cache"):
        assert "over_time" not in found[name]["metadata"]["query"]
    assert "over_time" not in triggers(scaled_object(render))["running"]["metadata"]["query"]


def test_kv_cache_asks_for_the_replicas_that_bring_usage_to_its_target(render: Render) -> None:
    text = formula(scaled_object(render, KV_CACHE, {"autoscaling": {"signals": {"kvCache": {"targetPercent": 50}}}}))
    # Two replicas at 90 %: 1.8 in all, half of which each may hold, so 3.6 replicas.
    assert value(text, running=1, waiting=0, kv_cache=1.8) / 25 == pytest.approx(3.6)


def test_late_first_tokens_add_replicas_in_proportion_and_at_most_double_them(render: Render) -> None:
    text = formula(scaled_object(render, FIRST_TOKEN))
    quiet = {"running": 0.0, "waiting": 0.0, "replicas": 4.0}
    assert value(text, ttft=1.9, **quiet) == 0
    assert value(text, ttft=3.0, **quiet) / 25 == pytest.approx(6)
    assert value(text, ttft=60.0, **quiet) / 25 == pytest.approx(8)


def test_office_hours_are_a_floor_and_not_an_addition(render: Render) -> None:
    document = scaled_object(render, OFFICE_HOURS)
    cron = triggers(document)["office_hours"]["metadata"]
    assert cron["desiredReplicas"] == "2"
    kept = {"waiting": 0.0, "office_hours": 2.0}
    assert value(formula(document), running=0, **kept) / 25 == 2
    assert value(formula(document), running=60, **kept) == 60
    assert value(formula(document), running=0, waiting=0, office_hours=0) == 0


def test_waking_keeps_one_replica_and_no_more(render: Render) -> None:
    document = scaled_object(render, ASLEEP)
    assert 0 < value(formula(document), running=0, waiting=0, wake=200.0) <= 25
    assert value(formula(document), running=0, waiting=0, wake=0.0) == 0


def test_own_formula_brings_the_triggers_it_reads(render: Render) -> None:
    document = scaled_object(
        render,
        {"autoscaling": {"formula": "max(running, float(int(waiting)) * 1e1 + replicas)"}},
    )
    assert list(triggers(document)) == ["running", "waiting", "replicas"]


def test_scaled_object_name_leaves_room_for_keda_hpa(render: Render) -> None:
    document = scaled_object(render, name="a-very-long-release-name-that-is-still-allowed-by-hel")
    assert len("keda-hpa-" + document.name) <= 63


def test_scaled_object_targets_the_deployment_of_its_release(render: Render) -> None:
    release = render(SCALED)
    (document,) = release.of_kind("ScaledObject")
    target = document.get("spec", "scaleTargetRef")
    assert release.find(target["kind"], target["name"]) is not None


def test_target_is_an_integer_because_keda_drops_the_fallback_otherwise(render: Render) -> None:
    for layer in ({}, {"autoscaling": {"targetPerReplica": None}}):
        assert scaled_object(render, layer).get("spec", "advanced", "scalingModifiers", "target").isdigit()


def test_failing_metrics_hold_the_replica_count(render: Render) -> None:
    document = scaled_object(render, KV_CACHE, FIRST_TOKEN, ASLEEP)
    assert document.get("spec", "fallback", "behavior") == "currentReplicas"
    prometheus = [each for each in triggers(document).values() if each["type"] == "prometheus"]
    assert len(prometheus) == 6
    assert {each["metadata"]["ignoreNullValues"] for each in prometheus} == {"false"}


@pytest.mark.parametrize("stem", STEMS)
def test_cooldown_covers_the_cold_start(stem: str) -> None:
    release = render_preset(stem)
    scaled = {each.get("spec", "scaleTargetRef", "name"): each for each in release.of_kind("ScaledObject")}
    for plan in plan_release(release):
        document = scaled.get(plan.container.document.name)
        if document is None:
            assert not scaled, "a preset with a fixed number of replicas scales nothing"
            continue
        for cooldown in ("cooldownPeriod", "initialCooldownPeriod"):
            assert document.get("spec", cooldown) >= 1.9 * plan.cold_start.seconds


def test_queries_are_limited_to_the_replicas_of_this_release(render: Render) -> None:
    document = scaled_object(render, KV_CACHE, FIRST_TOKEN, {"engine": {"servedModelName": ["chat"]}}, namespace="prod")
    for name, each in triggers(document).items():
        engine = [s for s in promql.parse(each["metadata"]["query"]).selectors if s.metric.startswith("vllm:")]
        assert engine, name
        for selector in engine:
            matchers = {m.label: m for m in selector.matchers}
            assert matchers["namespace"].accepts("prod")
            assert not matchers["namespace"].accepts("default")
            assert matchers["model_name"].accepts("chat")
            assert matchers["pod"].accepts("llm-llm-inference-7d9c5b6f4b-x2x9z")
            assert not matchers["pod"].accepts("llm-llm-inference-two-7d9c5b6f4b-x2x9z")


def test_rate_window_grows_with_the_scrape_interval(render: Render) -> None:
    document = scaled_object(render, FIRST_TOKEN, {"observability": {"scrapeIntervalSeconds": 30}})
    assert "[240s]" in triggers(document)["ttft"]["metadata"]["query"]


def test_every_query_returns_one_series(render: Render) -> None:
    document = scaled_object(render, KV_CACHE, FIRST_TOKEN, ASLEEP)
    for name, each in triggers(document).items():
        if each["type"] == "prometheus":
            assert promql.parse(each["metadata"]["query"]).shape.single, name


@pytest.mark.parametrize(
    ("mode", "settings", "parameters"),
    [
        ("bearer", {"existingSecret": "prometheus-login"}, {"bearerToken": "bearerToken"}),
        ("basic", {"existingSecret": "prometheus-login"}, {"username": "username", "password": "password"}),
    ],
)
def test_prometheus_login_comes_from_a_secret(
    render: Render, mode: str, settings: Values, parameters: dict[str, str]
) -> None:
    login = {"autoscaling": {"prometheus": {"authentication": {"mode": mode, **settings}}}}
    release = render(SCALED, login)
    (authentication,) = release.of_kind("TriggerAuthentication")
    (document,) = release.of_kind("ScaledObject")
    secrets = authentication.get("spec", "secretTargetRef")
    assert {each["parameter"]: each["key"] for each in secrets} == parameters
    assert {each["name"] for each in secrets} == {"prometheus-login"}
    for each in triggers(document).values():
        assert each["metadata"]["authModes"] == mode
        assert each["authenticationRef"]["name"] == authentication.name


def test_managed_prometheus_is_asked_with_the_identity_of_keda(render: Render) -> None:
    login = {"autoscaling": {"prometheus": {"authentication": {"mode": "sigv4", "awsRegion": "eu-central-1"}}}}
    release = render(SCALED, login)
    (authentication,) = release.of_kind("TriggerAuthentication")
    (document,) = release.of_kind("ScaledObject")
    assert authentication.get("spec", "podIdentity", "provider") == "aws"
    for each in triggers(document).values():
        assert each["metadata"]["awsRegion"] == "eu-central-1"
        assert "authModes" not in each["metadata"]


def test_opentelemetry_asks_the_external_scaler_and_keeps_the_cron(render: Render) -> None:
    document = scaled_object(
        render, KV_CACHE, OFFICE_HOURS, {"autoscaling": {"source": "opentelemetry"}, "model": {"id": "Qwen/Qwen3-8B"}}
    )
    found = triggers(document)
    assert {name: each["type"] for name, each in found.items()} == {
        "running": "external",
        "waiting": "external",
        "kv_cache": "external",
        "office_hours": "cron",
    }
    assert found["running"]["metadata"]["metricQuery"] == "sum(vllm:num_requests_running{model_name=Qwen/Qwen3-8B})"
    assert found["running"]["metadata"]["scalerAddress"] == "keda-otel-scaler.keda.svc:4318"


def test_without_autoscaling_nothing_scales(render: Render) -> None:
    release = render(merged(SCALED, {"autoscaling": {"enabled": False}}))
    assert list(release.of_kind("ScaledObject", "TriggerAuthentication")) == []


def test_a_model_that_sleeps_installs_no_pod(render: Render) -> None:
    release = render(SCALED, ASLEEP)
    (deployment,) = release.of_kind("Deployment")
    assert deployment.get("spec", "replicas") == 0


def test_scale_up_reaches_ten_replicas_in_one_pass(render: Render) -> None:
    behavior = scaled_object(render).get("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior")
    policies = {each["type"]: each for each in behavior["scaleUp"]["policies"]}
    assert (policies["Percent"]["value"], policies["Pods"]["value"]) == (900, 9)
    assert behavior["scaleUp"]["selectPolicy"] == "Max"
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= 300
