"""Manifests for a faster cluster: the right fields, and the same answers as in real time."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from chartproof import toolchain
from chartproof.cluster.promql_time import rewrite, shorter_duration
from chartproof.cluster.time_scale import Change, condensed, scaled, scaled_all
from chartproof.errors import InputError, UsageError
from chartproof.languages import promql
from chartproof.release import Document, Release, dig
from chartproof.schema import check_schemas
from tests import presets

FACTOR = 15

# --- Queries ----------------------------------------------------------------------------------------------------------

QUERIES = {
    "sum(rate(c[5m]))": "sum((rate(c[20s]) / 15))",
    "1 / rate(c[5m]) * 2": "1 / (rate(c[20s]) / 15) * 2",
    "irate (c[2m])": "(irate (c[8s]) / 15)",
    "deriv(g[1h])": "(deriv(g[4m]) / 15)",
    "increase(c[5m]) > 0": "increase(c[20s]) > 0",
    "rate(sum_over_time(rate(c[5m])[1h:30s])[1d:])": "(rate(sum_over_time((rate(c[20s]) / 15)[4m:2s])[1h36m:]) / 15)",
    "g offset 10m": "g offset 40s",
    "g OFFSET -1h - g": "g OFFSET -4m - g",
    "g offset 90": "g offset 6s",
    "avg_over_time(g[300])": "avg_over_time(g[20s])",
    "avg_over_time(g[10s])": "avg_over_time(g[667ms])",
    "avg_over_time(g[ 5m : 1m ])": "avg_over_time(g[20s:4s])",
    'predict_linear(g{a="1",b="2"}[1h], 4 * 3600)': 'predict_linear(g{a="1",b="2"}[4m], ( 4 * 3600) / 15)',
    "histogram_quantile(0.9, sum by (le) (rate(c[5m])))": "histogram_quantile(0.9, sum by (le) ((rate(c[20s]) / 15)))",
}

UNTOUCHED = [
    'g{pod=~"a[5m]", path="rate(x[5m])"}',
    "g{quote='it\\'s [5m]'} > 1",
    "g > 5 # rate(c[5m]) offset 5m",
    "sum by (rate, offset) (g)",
    "rate + offset:total",
    "g @ 1609746000 > 300",
    "count_values(`[5m]`, g)",
]


@pytest.mark.parametrize(("query", "expected"), QUERIES.items())
def test_query_gets_shorter_ranges_and_growth_per_simulated_second(query: str, expected: str) -> None:
    assert rewrite(query, FACTOR).text == expected
    promql_parser.parse(expected)


@pytest.mark.parametrize("query", UNTOUCHED)
def test_what_only_looks_like_time_stays(query: str) -> None:
    found = rewrite(query, FACTOR)
    assert (found.text, found.changes) == (query, ())


def test_a_query_names_its_changes_once() -> None:
    found = rewrite("rate(a[5m]) / rate(b[5m] offset 1m)", 7.5)
    assert found.changes == (("[5m]", "[40s]"), ("rate()", "rate() / 7.5"), ("offset 1m", "offset 8s"))


def test_comparisons_with_the_time_of_day_are_told_of() -> None:
    query = "time() - max(kube_pod_created) > 600"
    assert rewrite(query, FACTOR).text == query
    assert rewrite(query, FACTOR).changes == (("time()", "the same: it tells real time"),)


@pytest.mark.parametrize("query", ["avg_over_time(g[5m * 2])", "avg_over_time(g[$__interval])"])
def test_a_range_that_is_no_duration_is_refused(query: str) -> None:
    with pytest.raises(InputError, match="cannot be scaled"):
        rewrite(query, FACTOR)


@pytest.mark.parametrize("query", ["sum(rate(c[5m])", "sum(g))"])
def test_parentheses_that_do_not_match_are_refused(query: str) -> None:
    with pytest.raises(InputError, match="do not match"):
        rewrite(query, FACTOR)


@pytest.mark.parametrize(
    ("text", "factor", "expected"),
    [
        ("5m", 15, "20s"),
        ("1d", 15, "1h36m"),
        ("1m", 7, "8s572ms"),
        ("0", 15, "0s"),
        ("1ms", 15, "1ms"),
        ("1m", 0.5, "2m"),
    ],
)
def test_durations_round_up_to_whole_milliseconds(text: str, factor: float, expected: str) -> None:
    assert shorter_duration(text, factor) == expected


#: Queries on a counter that grows by 30 and a gauge that grows by 1 every 15 s, and their values after 50 minutes.
ANSWERS = {
    "rate(c[5m])": 2,
    "irate(c[5m])": 2,
    "increase(c[5m])": 600,
    "avg_over_time(g[5m] offset 10m)": 150.5,
    "deriv(g[5m])": 0.067,
    "predict_linear(g[5m], 600)": 240,
    "max_over_time(rate(c[1m])[10m:30s])": 2,
    "sum(rate(c[5m])) / sum(avg_over_time(g[10m]))": 0.011,
    "count_over_time(g[10m])": 40,
}


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1, 15, 5])
def test_prometheus_answers_the_same_in_the_faster_cluster(factor: int, tmp_path: Path) -> None:
    series = [{"series": "c", "values": "0+30x300"}, {"series": "g", "values": "0+1x300"}]
    queries = [
        {
            "expr": rewrite(f"round({query}, 0.001)", factor).text,
            "eval_time": f"{50 * 60 // factor}s",
            "exp_samples": [{"labels": "{}", "value": value}],
        }
        for query, value in ANSWERS.items()
    ]
    interval = f"{15 // factor}s"
    test = {"interval": interval, "input_series": series, "promql_expr_test": queries}
    (tmp_path / "test.yaml").write_text(json.dumps({"evaluation_interval": interval, "tests": [test]}))
    _promtool("test", "rules", tmp_path / "test.yaml")


# --- Documents --------------------------------------------------------------------------------------------------------


def _lines(text: str, factor: float = FACTOR) -> tuple[Any, list[str]]:
    body, changes = scaled(yaml.safe_load(text), factor)
    return body, [str(each) for each in changes]


SCALED_OBJECT = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: x}
spec:
  pollingInterval: 15
  cooldownPeriod: 442
  initialCooldownPeriod: 0
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp: {stabilizationWindowSeconds: 0, policies: [{type: Pods, value: 4, periodSeconds: 20}]}
        scaleDown: {stabilizationWindowSeconds: 301}
  triggers:
    - {type: cron, metadata: {start: 0 8 * * 1-5, end: 0 20 * * 1-5, desiredReplicas: "2"}}
    - {type: prometheus, metadata: {query: "rate(x[2m])", threshold: "3", timeout: "3000"}}
    - {type: influxdb, metadata: {query: "from(bucket: 1) |> range(start: [5m])"}}
"""


def test_scaled_object() -> None:
    body, lines = _lines(SCALED_OBJECT)
    behavior = "spec.advanced.horizontalPodAutoscalerConfig.behavior"
    assert lines == [
        "ScaledObject/x spec.triggers[1].metadata.query: [2m] -> [8s]",
        "ScaledObject/x spec.triggers[1].metadata.query: rate() -> rate() / 15",
        "ScaledObject/x spec.pollingInterval: 15 -> 1",
        "ScaledObject/x spec.cooldownPeriod: 442 -> 30",
        f"ScaledObject/x {behavior}.scaleUp.policies[0].periodSeconds: 20 -> 2",
        f"ScaledObject/x {behavior}.scaleDown.stabilizationWindowSeconds: 301 -> 21",
        f"ScaledObject/x {behavior}.scaleDown.policies[0].periodSeconds: 15 -> 1",
    ]
    before = yaml.safe_load(SCALED_OBJECT)["spec"]
    assert body["spec"]["triggers"][1]["metadata"] == {
        "query": "(rate(x[8s]) / 15)",
        "threshold": "3",
        "timeout": "3000",
    }
    assert [body["spec"]["triggers"][each] for each in (0, 2)] == [before["triggers"][each] for each in (0, 2)]
    # The period of the default policy is real time; the server would fill it in unscaled.
    assert dig(body, *behavior.split("."), "scaleDown", "policies") == [
        {"type": "Percent", "value": 100, "periodSeconds": 1}
    ]


def test_defaults_of_keda_are_written_out() -> None:
    body, lines = _lines(
        "{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: x}, spec: {triggers: []}}"
    )
    assert lines == [
        "ScaledObject/x spec.pollingInterval: 30 (default) -> 2",
        "ScaledObject/x spec.cooldownPeriod: 300 (default) -> 20",
    ]
    assert body["spec"] == {"triggers": [], "pollingInterval": 2, "cooldownPeriod": 20}


def test_an_autoscaler_without_behavior_counts_in_the_controllers_own_periods() -> None:
    _, lines = _lines("{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: x}, spec: {}}")
    assert lines == []


def test_an_autoscaler_with_an_empty_behavior_gets_the_servers_policies_scaled() -> None:
    body, lines = _lines(
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: x}, spec: {behavior: {}}}"
    )
    assert [each.rpartition("behavior")[2] for each in lines] == [
        ".scaleUp.policies[0].periodSeconds: 15 -> 1",
        ".scaleUp.policies[1].periodSeconds: 15 -> 1",
        ".scaleDown.policies[0].periodSeconds: 15 -> 1",
    ]
    # Its stabilisation stays the controller's flag, which is scaled where the controller is started.
    assert "stabilizationWindowSeconds" not in body["spec"]["behavior"]["scaleDown"]


def test_prometheus_rule() -> None:
    _, lines = _lines(
        """
        apiVersion: monitoring.coreos.com/v1
        kind: PrometheusRule
        metadata: {name: x}
        spec:
          groups:
            - name: a
              interval: 30s
              rules:
                - {alert: A, expr: "g > 600", for: 15m, keep_firing_for: 5m, annotations: {d: "of [5m]"}}
                - {alert: B, expr: "g > 1", for: 0s}
        """
    )
    assert lines == [
        "PrometheusRule/x spec.groups[0].interval: 30s -> 2s",
        "PrometheusRule/x spec.groups[0].rules[0].for: 15m -> 1m",
        "PrometheusRule/x spec.groups[0].rules[0].keep_firing_for: 5m -> 20s",
    ]


@pytest.mark.parametrize(
    ("kind", "endpoints"), [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]
)
def test_scrapes_time_out_within_their_interval(kind: str, endpoints: str) -> None:
    body, lines = _lines(
        f"{{apiVersion: monitoring.coreos.com/v1, kind: {kind}, metadata: {{name: x}}, "
        f"spec: {{{endpoints}: [{{interval: 15s, scrapeTimeout: 10s}}, {{port: http}}]}}}}"
    )
    assert body["spec"][endpoints] == [{"interval": "1s", "scrapeTimeout": "667ms"}, {"port": "http"}]
    assert len(lines) == 2


def test_node_pool_keeps_budgets_and_termination_grace() -> None:
    body, lines = _lines(
        """
        apiVersion: karpenter.sh/v1
        kind: NodePool
        metadata: {name: x}
        spec:
          template: {spec: {terminationGracePeriod: 415s}}
          disruption:
            consolidateAfter: 1h1m
            budgets: [{nodes: "0", schedule: 0 7 * * mon-fri, duration: 12h}]
        """
    )
    assert lines == [
        "NodePool/x spec.disruption.consolidateAfter: 1h1m -> 4m4s",
        "NodePool/x spec.template.spec.expireAfter: 720h (default) -> 48h",
    ]
    assert body["spec"]["template"]["spec"]["terminationGracePeriod"] == "415s"
    assert body["spec"]["disruption"]["budgets"] == [{"nodes": "0", "schedule": "0 7 * * mon-fri", "duration": "12h"}]


@pytest.mark.parametrize("value", ["Never", "0s"])
def test_what_never_or_at_once_happens_stays(value: str) -> None:
    pool = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "x"},
        "spec": {"disruption": {"consolidateAfter": value}, "template": {"spec": {"expireAfter": "Never"}}},
    }
    assert scaled(pool, FACTOR) == (pool, [])


@pytest.mark.parametrize(("value", "expected"), [("666s", "45s"), ("true", "true"), ("1h", "4m"), ("0s", "0s")])
def test_protection_of_a_loading_pod(value: str, expected: str) -> None:
    body, _ = scaled(_deployment({"karpenter.sh/do-not-disrupt": value}), FACTOR)
    assert dig(body, "spec", "template", "metadata", "annotations", "karpenter.sh/do-not-disrupt") == expected


def test_what_our_kubelets_read_stays() -> None:
    body, changes = scaled(_deployment({}), FACTOR)
    assert [str(each) for each in changes] == ["Deployment/x spec.progressDeadlineSeconds: 760 -> 51"]
    assert dig(body, "spec", "template") == dig(_deployment({}), "spec", "template")


def _deployment(annotations: dict[str, str]) -> dict[str, Any]:
    probe = {"periodSeconds": 15, "timeoutSeconds": 5, "failureThreshold": 10}
    container = {"name": "a", "startupProbe": probe, "lifecycle": {"preStop": {"sleep": {"seconds": 10}}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "x"},
        "spec": {
            "progressDeadlineSeconds": 760,
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {"terminationGracePeriodSeconds": 115, "containers": [container]},
            },
        },
    }


@pytest.mark.parametrize("kind", ["ConfigMap", "Service", "EC2NodeClass"])
def test_other_kinds_are_left_alone(kind: str) -> None:
    document = {"apiVersion": "v1", "kind": kind, "spec": {"interval": "15s", "pollingInterval": 30}}
    assert scaled(document, FACTOR) == (document, [])


def test_the_document_that_was_given_is_not_changed() -> None:
    document = yaml.safe_load(SCALED_OBJECT)
    scaled(document, FACTOR)
    assert document == yaml.safe_load(SCALED_OBJECT)


def test_a_broken_duration_is_refused_with_its_place() -> None:
    with pytest.raises(InputError, match=r"ServiceMonitor/x spec.endpoints\[0\].interval: .*1\.5m"):
        _lines(
            "{apiVersion: monitoring.coreos.com/v1, kind: ServiceMonitor, metadata: {name: x}, "
            "spec: {endpoints: [{interval: 1.5m}]}}"
        )


def test_a_broken_query_is_refused_with_its_place() -> None:
    broken = SCALED_OBJECT.replace("rate(x[2m])", "rate(x[2m]")
    with pytest.raises(InputError, match=r"ScaledObject/x spec.triggers\[1\].metadata.query: .*do not match"):
        _lines(broken)


@pytest.mark.parametrize("factor", [0, -1, float("inf"), float("nan")])
def test_a_factor_that_is_none_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="time cannot run"):
        scaled({"apiVersion": "v1", "kind": "Service"}, factor)


def test_changes_at_several_places_are_told_in_one_line() -> None:
    changes = [Change("PrometheusRule/x", f"spec.groups[{each}].interval", "1m", "4s") for each in range(3)]
    assert condensed([*changes, Change("NodePool/y", "spec.a", "1", "2")]) == [
        "PrometheusRule/x spec.groups[].interval: 1m -> 4s (3 times)",
        "NodePool/y spec.a: 1 -> 2",
    ]


# --- Presets ----------------------------------------------------------------------------------------------------------


def _release(stem: str, factor: float) -> Release:
    release = presets.render(stem)
    bodies, _ = scaled_all([each.body for each in release.documents], factor)
    documents = (Document(body, each.source, each.index) for body, each in zip(bodies, release.documents, strict=True))
    return Release(release.name, tuple(documents), release.origin)


def test_both_kinds_of_pods_of_a_group_leave_a_lost_node_sooner() -> None:
    pods = {"spec": {"tolerations": [{"key": "node.kubernetes.io/unreachable", "tolerationSeconds": 300}]}}
    both = {"leaderTemplate": pods, "workerTemplate": copy.deepcopy(pods)}
    body, changes = scaled(
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": "pair"},
            "spec": {"leaderWorkerTemplate": both},
        },
        FACTOR,
    )
    assert {(each.before, each.after) for each in changes} == {("300", "20")}
    for each in both:
        template = dig(body, "spec", "leaderWorkerTemplate", each)
        assert template["spec"]["tolerations"][0]["tolerationSeconds"] == 20


@pytest.mark.slow
@pytest.mark.parametrize("stem", presets.STEMS)
def test_factor_one_changes_nothing(stem: str) -> None:
    bodies = [each.body for each in presets.render(stem).documents]
    assert scaled_all(bodies, 1) == (bodies, [])


@pytest.mark.slow
@pytest.mark.parametrize("stem", presets.STEMS)
def test_scaled_presets_keep_to_the_schemas(stem: str) -> None:
    assert check_schemas([_release(stem, FACTOR)]) == {presets.render(stem).name: []}


@pytest.mark.slow
@pytest.mark.parametrize("stem", presets.STEMS)
def test_every_range_of_a_scaled_preset_is_a_fifteenth(stem: str) -> None:
    real, fast = _queries(presets.render(stem)), _queries(_release(stem, FACTOR))
    assert len(real) == len(fast)
    for before, after in zip(real, fast, strict=True):
        assert [each / FACTOR for each in _ranges(before)] == _ranges(after)


@pytest.mark.slow
@pytest.mark.parametrize("stem", presets.STEMS)
def test_prometheus_takes_the_rules_of_scaled_presets(stem: str, tmp_path: Path) -> None:
    rules = [each.body for each in _release(stem, FACTOR).of_kind("PrometheusRule")]
    assert len(rules) == len(list(presets.render(stem).of_kind("PrometheusRule")))
    for index, each in enumerate(rules):
        (tmp_path / f"{index}.yaml").write_text(json.dumps({"groups": each["spec"]["groups"]}))
        _promtool("check", "rules", tmp_path / f"{index}.yaml")


def _queries(release: Release) -> list[str]:
    rules = [
        rule["expr"]
        for document in release.of_kind("PrometheusRule")
        for group in document.body["spec"]["groups"]
        for rule in group["rules"]
    ]
    triggers = [
        trigger["metadata"]["query"]
        for document in release.of_kind("ScaledObject")
        for trigger in document.body["spec"]["triggers"]
        if trigger["type"] == "prometheus"
    ]
    return rules + triggers


def _ranges(query: str) -> list[float]:
    return [each.range_seconds for each in promql.parse(query).selectors if each.range_seconds is not None]


def _promtool(*arguments: str | Path) -> None:
    command = [toolchain.resolve("promtool"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
