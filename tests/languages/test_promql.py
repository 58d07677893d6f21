from __future__ import annotations

import math

import pytest

from chartproof.languages.promql import Matcher, PromqlError, Range, parse, without_grafana_variables

READY = 'kube_deployment_status_replicas_ready{namespace="n",deployment="d"}'


@pytest.mark.parametrize(
    "query",
    [
        "sum(a)",
        'sum by (x) (a{x="1"})',
        "sum(a) or vector(0)",
        "sum(a) or (sum(b) == 0)",
        READY,
        f"max({READY}) == 0",
        "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
        'histogram_quantile(0.9, sum by (le, m) (rate(x_bucket{m="z"}[5m])))',
        "sum(a) / sum(b)",
        "topk(1, a)",
        "100 * max(a)",
        "sum(a) + 10 * sum(b)",
        f"(sum(a) unless on() (count(a) < on() max({READY}))) or on() (max({READY}) == 0)",
        "max_over_time(sum(a)[30s:])",
        "scalar(a)",
        "time()",
        'sum by (m) (a{m="x"}) or sum by (m) (b{m="x"})',
        "sum((rate(x[1m])) > 0) or vector(0)",
    ],
)
def test_results_of_one_series_are_recognised(query: str) -> None:
    assert parse(query).shape.single


@pytest.mark.parametrize(
    "query",
    [
        "a",
        "rate(a[1m])",
        "sum by (pod) (a)",
        "avg without (engine) (a)",
        'sum by (x) (a{x="1"}) or vector(0)',
        f"sum(a) or ({READY} == 0)",
        "histogram_quantile(0.9, rate(x_bucket[5m]))",
        "a / on (pod) b",
        "topk(3, a)",
        'a{pod=~"x.*"}',
        'count_values("v", a)',
        "sum(a) or b",
    ],
)
def test_results_of_several_series_are_recognised(query: str) -> None:
    assert not parse(query).shape.single


@pytest.mark.parametrize("query", ["sum(a) or vector(0)", "vector(1)", "3", "time()", "100 * (sum(a) or vector(0))"])
def test_queries_that_always_have_a_value(query: str) -> None:
    assert parse(query).never_empty


@pytest.mark.parametrize(
    "query", ["sum(a)", "vector(0) > 1", "vector(0) and sum(a)", "sum(a) + vector(0)", "absent(a)"]
)
def test_queries_that_can_be_empty(query: str) -> None:
    assert not parse(query).never_empty


@pytest.mark.parametrize(
    ("query", "aggregation"),
    [
        ("sum(a) * 100", "sum"),
        ("100 * avg(a)", "avg"),
        ("(avg(a) or vector(0))", "avg"),
        ("sum(a) / count(a)", ""),
        ("histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))", "histogram_quantile"),
        ("ceil(avg(a))", "avg"),
        ("a", ""),
    ],
)
def test_the_aggregation_that_makes_the_result(query: str, aggregation: str) -> None:
    assert parse(query).outer_aggregation == aggregation


def test_selectors_know_what_encloses_them() -> None:
    (selector,) = parse('sum(rate(a{x="y"}[5m] offset 1m)) / 3').selectors
    assert (selector.metric, selector.range_seconds, selector.offset) == ("a", 300, True)
    assert selector.enclosing == ("rate", "sum", "/")
    assert selector.is_rated


def test_a_name_in_braces_is_the_metric() -> None:
    assert parse('{"vllm:num_requests_running", x="y"}').metrics == ("vllm:num_requests_running",)


def test_ranges_follow_arithmetic() -> None:
    def ratio(_metric: str) -> Range:
        return Range(0, 1)

    assert parse("100 * max(kv)").range(ratio) == Range(0, 100)
    assert parse("max(kv) / 2 + 1").range(ratio) == Range(1, 1.5)
    assert parse("sum(kv)").range(ratio) == Range(0, math.inf)
    assert parse("sum(kv)").range(ratio, per_replica=True) == Range(0, 1)
    assert parse("avg_over_time(kv[5m]) > 0.5").range(ratio) == Range(0, 1)


def test_comparisons_are_read_from_either_side() -> None:
    found = [(operator, number) for _, operator, number in parse("80 < max(kv) or min(kv) <= 2 * 3").comparisons()]
    assert found == [(">", 80), ("<=", 6)]


@pytest.mark.parametrize(
    ("value", "fixed"), [("x", True), ("a-b_c", True), ("a|b", False), ("a.*", False), ("", False)]
)
def test_a_plain_regular_expression_pins_its_label(value: str, *, fixed: bool) -> None:
    assert Matcher("l", "=~", value).fixed is fixed


def test_matchers_accept_values_as_prometheus_anchors_them() -> None:
    assert Matcher("pod", "=~", "llm-.*").accepts("llm-1")
    assert not Matcher("pod", "=~", "llm").accepts("llm-1")
    assert Matcher("pod", "!=", "a").accepts("b")


@pytest.mark.parametrize(
    "query", ["sum(", "rate(a)", "sum(a) by", "", "unknown(a)", "histogram_quantile(0.9)", "avg(a[5m])"]
)
def test_what_prometheus_refuses_is_refused(query: str) -> None:
    with pytest.raises(PromqlError):
        parse(query)


def test_dashboard_variables_are_replaced_by_what_fits() -> None:
    text = without_grafana_variables('sum by ($by) (rate(a{m="$model",x=~"${y:regex}"}[$__rate_interval])) > [[limit]]')
    assert "$" not in text
    assert parse(text.replace("grafana_variable)", "m)")).metrics == ("a", "grafana_variable")
