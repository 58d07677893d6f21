"""Every alert and dashboard query against Prometheus' own rule engine (promtool)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from chartproof import toolchain
from chartproof.release import Release
from tests import presets

HERE = Path(__file__).parent

STEP_SECONDS = 30
WATCHDOG = "LlmWatchdog"
"""Fires for ever, on purpose."""
DURING_MINUTES, AFTER_MINUTES = 45, 75

HEALTHY: list[dict[str, Any]] = yaml.safe_load((HERE / "healthy.yaml").read_text())
HEALTHY_SGLANG: list[dict[str, Any]] = yaml.safe_load((HERE / "healthy-sglang.yaml").read_text())
FAULTS: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "faults.yaml").read_text())
#: What makes an SGLang of a vLLM preset.
SGLANG = "engine: {type: sglang}"


@pytest.fixture(scope="module", params=["vllm", "sglang"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model_release(engine: str) -> Release:
    return presets.render("qwen2.5-7b-g5", SGLANG if engine == "sglang" else "{}")


@pytest.fixture(scope="module")
def platform_release() -> Release:
    return presets.render("platform-eks")


@pytest.fixture(scope="module")
def rules(model_release: Release, platform_release: Release) -> list[dict[str, Any]]:
    return [
        dict(group)
        for release in (model_release, platform_release)
        for document in release.of_kind("PrometheusRule")
        for group in document.get("spec", "groups")
    ]


@pytest.fixture(scope="module")
def names(engine: str, model_release: Release) -> dict[str, str]:
    """What the placeholders of the series stand for in this release."""
    (deployment,) = model_release.of_kind("Deployment")
    (scaled_object,) = model_release.of_kind("ScaledObject")
    pod = f"{deployment.name}-7c9d8f6b5d"
    process = 'engine="0"' if engine == "vllm" else 'engine_type="unified"'
    common = f'namespace="llm",{process},model_name="qwen2.5-7b",job="x"'
    dcgm = 'modelName="NVIDIA A10G",namespace="gpu",pod="dcgm"'
    return {
        "@deployment": deployment.name,
        "@pod": pod,
        "@scaledobject": scaled_object.name,
        "@a": f'{common},pod="{pod}-aaaaa"',
        "@b": f'{common},pod="{pod}-bbbbb"',
        "@http": f'namespace="llm",pod="{pod}-aaaaa",job="x"',
        "@gpu_a": f'gpu="0",UUID="GPU-a",Hostname="node-a",instance="node-a:9400",{dcgm}',
        "@gpu_b": f'gpu="1",UUID="GPU-b",Hostname="node-b",instance="node-b:9400",{dcgm}',
    }


@dataclass(frozen=True)
class Course:
    """Minutes of health before a fault (most alerts look back less than an hour) and when to look."""

    healthy_minutes: int = 60
    look_minutes: int = DURING_MINUTES - 1

    @property
    def samples(self) -> tuple[int, int, int]:
        per_minute = 60 // STEP_SECONDS
        return self.healthy_minutes * per_minute, DURING_MINUTES * per_minute, AFTER_MINUTES * per_minute

    @property
    def before_fault(self) -> str:
        return f"{self.healthy_minutes - 1}m"

    @property
    def during_fault(self) -> str:
        return f"{self.healthy_minutes + self.look_minutes}m"

    @property
    def after_recovery(self) -> str:
        return f"{self.healthy_minutes + DURING_MINUTES + AFTER_MINUTES}m"


HOUR = Course()


def _values(entry: dict[str, Any], fault: float | str | None, course: Course) -> str:
    """The three stretches of a series in promtool's notation; `fault` is "same" where nothing changes."""
    before, during, after = course.samples
    if "rate" in entry:
        per_sample = entry["rate"] * STEP_SECONDS
        changed = per_sample if isinstance(fault, str) else (fault or 0) * STEP_SECONDS
        first = before * per_sample
        second = first + during * changed
        stretches = [
            f"0+{per_sample}x{before - 1}",
            f"{first}+{changed}x{during - 1}",
            f"{second}+{per_sample}x{after - 1}",
        ]
        if fault is None:
            stretches[1] = f"_x{during}"
        return " ".join(stretches)

    def level(value: float | None, samples: int) -> str:
        return f"_x{samples}" if value is None else f"{value}x{samples - 1}"

    normal = entry["gauge"]
    changed_level = normal if isinstance(fault, str) else fault
    return " ".join((level(normal, before), level(changed_level, during), level(normal, after)))


def _series(
    engine: str, names: dict[str, str], change: Mapping[str, float | None], course: Course = HOUR
) -> list[dict[str, str]]:
    found = []
    matched: set[str] = set()
    for entry in _healthy(engine):
        series = re.sub(r"@\w+", lambda match: names[match[0]], entry["series"])
        fault: float | str | None = "same"
        for pattern, value in change.items():
            if re.search(pattern, series):
                fault = value
                matched.add(pattern)
        found.append({"series": series, "values": _values(entry, fault, course)})
    assert matched == set(change), f"patterns that match no series: {set(change) - matched}"
    return found


def _healthy(engine: str) -> list[dict[str, Any]]:
    """Series of the cluster and of a model on this engine."""
    if engine == "vllm":
        return HEALTHY
    return HEALTHY_SGLANG + [
        each for each in HEALTHY if not each["series"].startswith(("vllm:", "http_requests_total"))
    ]


def _promtool(tmp_path: Path, rules: list[dict[str, Any]], tests: list[dict[str, Any]]) -> None:
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": rules}))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{STEP_SECONDS}s", "tests": tests}
    (tmp_path / "test.yaml").write_text(json.dumps(document))
    result = subprocess.run(
        [toolchain.resolve("promtool"), "test", "rules", "test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def _firing(names_of_alerts: list[str], at: str) -> list[dict[str, Any]]:
    """Expressions that say which alerts fire at a time, beside the one that always does, and that no other does."""
    names_of_alerts = [WATCHDOG, *names_of_alerts]
    expected = "|".join(names_of_alerts)
    others = f'count(ALERTS{{alertstate="firing",alertname!~"{expected}"}}) or vector(0)'
    return [
        *(
            {
                "expr": f'count(ALERTS{{alertstate="firing",alertname="{name}"}}) > bool 0',
                "eval_time": at,
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
            for name in names_of_alerts
        ),
        {"expr": others, "eval_time": at, "exp_samples": [{"labels": "{}", "value": 0}]},
    ]


@pytest.mark.slow
def test_promtool_accepts_the_rules(tmp_path: Path, rules: list[dict[str, Any]]) -> None:
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": rules}))
    command = [str(toolchain.resolve("promtool")), "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_fault_and_every_fault_an_alert(rules: list[dict[str, Any]]) -> None:
    alerts = {rule["alert"] for group in rules for rule in group["rules"] if "alert" in rule}
    assert alerts == {*FAULTS, WATCHDOG}


@pytest.mark.slow
@pytest.mark.parametrize("alert", sorted(FAULTS))
def test_alert_fires_for_its_fault_alone_and_clears(
    alert: str, engine: str, tmp_path: Path, rules: list[dict[str, Any]], names: dict[str, str]
) -> None:
    fault = FAULTS[alert]
    change = fault.get(engine, fault["change"])
    expected = [alert, *fault.get("also", [])]
    course = Course(**fault.get("course", {}))
    test = {
        "interval": f"{STEP_SECONDS}s",
        "input_series": _series(engine, names, change, course),
        "promql_expr_test": [
            *_firing([], course.before_fault),
            *_firing(expected, course.during_fault),
            *_firing([], course.after_recovery),
        ],
    }
    _promtool(tmp_path, rules, [test])


@pytest.mark.slow
def test_alert_of_lost_targets_fires_when_no_replica_is_scraped(
    engine: str, tmp_path: Path, rules: list[dict[str, Any]], names: dict[str, str]
) -> None:
    test = {
        "interval": f"{STEP_SECONDS}s",
        "input_series": _series(engine, names, {f"{engine}:.*|^http_requests_total": None}),
        "promql_expr_test": [*_firing(["LlmAutoscalerBlind"], HOUR.during_fault), *_firing([], HOUR.after_recovery)],
    }
    _promtool(tmp_path, rules, [test])


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{"status_condition": 1}, {"^(?!DCGM|kube_node).*": None}], ids=["no KEDA", "no target"]
)
def test_alert_of_a_blind_autoscaler_fires_without_keda_and_without_any_target(
    change: dict[str, float | None], engine: str, tmp_path: Path, rules: list[dict[str, Any]], names: dict[str, str]
) -> None:
    test = {
        "interval": f"{STEP_SECONDS}s",
        "input_series": _series(engine, names, change),
        "promql_expr_test": [*_firing(["LlmAutoscalerBlind"], HOUR.during_fault), *_firing([], HOUR.after_recovery)],
    }
    _promtool(tmp_path, rules, [test])


@pytest.mark.slow
def test_one_failed_query_is_not_blindness(
    engine: str, tmp_path: Path, rules: list[dict[str, Any]], names: dict[str, str]
) -> None:
    errors = next(each for each in _series(engine, names, {}) if each["series"].startswith("keda_scaled_object_errors"))
    others = [each for each in _series(engine, names, {}) if each["series"] != errors["series"]]
    one = {"series": errors["series"], "values": "0x119 1x300"}
    minutes = [_firing([], f"{each}m") for each in range(58, 70)]
    test = {
        "interval": f"{STEP_SECONDS}s",
        "input_series": [*others, one],
        "promql_expr_test": [each for tests in minutes for each in tests],
    }
    _promtool(tmp_path, rules, [test])


@pytest.mark.slow
@pytest.mark.parametrize(("errors", "hours", "fires"), [(3, 0, True), (0, 0, False), (3, 1, False)])
def test_a_fallback_that_holds_is_blindness_although_keda_counts_no_errors_any_more(
    errors: int,
    hours: int,
    fires: bool,
    engine: str,
    tmp_path: Path,
    rules: list[dict[str, Any]],
    names: dict[str, str],
) -> None:
    series = _series(engine, names, {"status_target_metric": 25})
    before, during, after = HOUR.samples
    for each in series:
        if each["series"].startswith("keda_scaled_object_errors"):
            each["values"] = f"0x{before - 1} {errors}x{during + after - 1}"
    name = names["@scaledobject"]
    hours_series = f'keda_scaler_metrics_value{{exported_namespace="llm",scaledObject="{name}",scaler="office_hours"}}'
    series.append({"series": hours_series, "values": f"{hours}x{before + during + after}"})
    found = ["LlmAutoscalerBlind"] if fires else []
    tests = [*_firing([], HOUR.before_fault), *_firing(found, HOUR.during_fault), *_firing([], HOUR.after_recovery)]
    _promtool(tmp_path, rules, [{"interval": f"{STEP_SECONDS}s", "input_series": series, "promql_expr_test": tests}])


@pytest.mark.slow
def test_a_model_at_zero_replicas_is_not_blind(
    engine: str, tmp_path: Path, rules: list[dict[str, Any]], names: dict[str, str]
) -> None:
    change = {
        f"{engine}:.*|^http_requests_total": None,
        "kube_deployment_.*": 0,
        "status_desired_replicas": 0,
        # So the HPA says of what it does not scale at zero.
        "status_condition": 1,
    }
    test = {
        "interval": f"{STEP_SECONDS}s",
        "input_series": _series(engine, names, change),
        "promql_expr_test": _firing([], HOUR.during_fault),
    }
    _promtool(tmp_path, rules, [test])


def test_every_query_parses(rules: list[dict[str, Any]], platform_release: Release) -> None:
    expressions = [rule["expr"] for group in rules for rule in group["rules"]]
    expressions += [_concrete(query) for _, query in _queries(platform_release)]
    for expression in expressions:
        promql_parser.parse(expression)


def _concrete(query: str) -> str:
    """A dashboard query with Grafana's variables filled in."""
    return query.replace("$namespace", ".*").replace("$model", ".*").replace("$__rate_interval", "5m")


def _dashboards(release: Release) -> dict[str, Any]:
    return {
        name: json.loads(text)
        for document in release.of_kind("ConfigMap")
        for name, text in (document.get("data") or {}).items()
        if name.endswith(".json")
    }


def _queries(release: Release) -> list[tuple[str, str]]:
    return [
        (f"{name}: {panel['title']}", target["expr"])
        for name, dashboard in _dashboards(release).items()
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


@pytest.mark.slow
def test_every_dashboard_query_returns_data(
    engine: str, tmp_path: Path, rules: list[dict[str, Any]], names: dict[str, str], platform_release: Release
) -> None:
    drawn_for_another = (
        ("llm-latency.json", "llm-scaling.json") if engine == "sglang" else ("llm-latency-s", "llm-scaling-s")
    )
    queries = [each for each in _queries(platform_release) if not each[0].startswith(drawn_for_another)]
    assert len(queries) > 35

    # x == x drops NaN, so that a division by nothing does not pass for data.
    expressions = [
        {
            "expr": f"count(({_concrete(query)}) == ({_concrete(query)})) > bool 0",
            "eval_time": HOUR.before_fault,
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for _, query in queries
    ]
    series = _series(engine, names, {})
    _promtool(
        tmp_path, rules, [{"interval": f"{STEP_SECONDS}s", "input_series": series, "promql_expr_test": expressions}]
    )


def test_dashboards_are_placed_without_overlap(platform_release: Release) -> None:
    dashboards = _dashboards(platform_release)
    shared = {"llm-cost", "llm-gpu"}
    of_engines = {"llm-scaling", "llm-latency", "llm-scaling-sglang", "llm-latency-sglang"}
    assert {each["uid"] for each in dashboards.values()} == shared | of_engines
    for dashboard in dashboards.values():
        taken: set[tuple[int, int]] = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert place["x"] + place["w"] <= 24
            assert not cells & taken
            taken |= cells


def test_every_alert_has_severity_summary_and_a_runbook_that_exists(rules: list[dict[str, Any]]) -> None:
    for group in rules:
        for rule in group["rules"]:
            if "alert" not in rule:
                continue
            assert rule["labels"]["severity"] in {"warning", "critical", "none"}
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["description"]
            page = rule["annotations"]["runbook_url"].rpartition("/")[2]
            assert (presets.ROOT / "docs" / "runbooks" / page).is_file(), page


def test_no_placeholder_is_left_over(rules: list[dict[str, Any]], platform_release: Release) -> None:
    assert "${" not in json.dumps(rules)
    assert "${" not in json.dumps(_dashboards(platform_release)).replace("${datasource}", "")
