from __future__ import annotations

import math

import pytest

from chartproof.autoscaler import autoscalers
from chartproof.languages.promql import parse
from chartproof.simulate.promql import ManyToManyError, UnsupportedQueryError, Value, compile_query, longest_range
from chartproof.simulate.series import Database, Series
from tests import presets


def database() -> Database:
    found = Database(600)
    for pod, running in (("a-1", [1, 2, 3]), ("a-2", [5, 5, 7])):
        series = found.add("running", {"pod": pod, "namespace": "llm"})
        for i, value in enumerate(running):
            series.append(15.0 * i, value)
    counter = found.add("requests_total", {"ingress": "x"})
    for i in range(9):
        counter.append(15.0 * i, 30.0 * i)
    found.add("ready", {"deployment": "a"}).append(30, 2)
    for bound, count in (("0.1", 0), ("0.5", 50), ("1", 90), ("+Inf", 100)):
        bucket = found.add("ttft_bucket", {"le": bound, "pod": "a-1"})
        bucket.append(0, 0)
        bucket.append(60, float(count))
    return found


def value(text: str, now: float = 30.0, base: Database | None = None) -> Value:
    return compile_query(parse(text), base or database())(now)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sum(running)", 10),
        ("avg(running)", 5),
        ("max(running)", 7),
        ("min(running)", 3),
        ("count(running)", 2),
        ('sum(running{pod="a-1"})', 3),
        ('sum(running{pod=~"a-[0-9]"})', 10),
        ('sum(running{pod!="a-1"})', 7),
        ("sum by (namespace) (running)", 10),
        ("sum without (pod) (running)", 10),
        ("sum(running) + 2 * 3", 16),
        ("sum(running) / 0", math.inf),
        ("-sum(running)", -10),
        ("sum(running) > 5", 10),
        ("sum(running) > bool 50", 0),
        ("5 < sum(running)", 10),
        ("vector(3)", 3),
        ("scalar(sum(running)) * 1", 10),
        ("sum(nothing) or vector(0)", 0),
        ("sum(running) or vector(0)", 10),
        ("sum(running) and on() ready > 1", 10),
        ("sum(running) unless on() (count(running) < on() max(ready))", 10),
        ("absent(nothing)", 1),
        ("max(max_over_time(running[1m]))", 7),
        ("sum(count_over_time(running[1m]))", 6),
        ("sum(min_over_time(running[20s]))", 7),
        ("clamp_max(sum(running), 4)", 4),
        ("round(sum(running) / 3)", 3),
        ("ceil(sum(running) / 3)", 4),
    ],
)
def test_queries_have_the_value_that_prometheus_gives(query: str, expected: float) -> None:
    found = value(query)
    assert (found if isinstance(found, float) else [each for _, each in found]) in (expected, [expected])


@pytest.mark.parametrize(
    "query", ["sum(nothing)", "sum(running) > 50", "sum(running) and on() nothing", "sum(running) unless on() ready"]
)
def test_queries_without_a_result_are_empty(query: str) -> None:
    assert value(query) == []


def number(text: str, now: float, base: Database | None = None) -> float:
    """The value of a query with one unlabelled series."""
    found = value(text, now, base)
    assert isinstance(found, list)
    ((labels, only),) = found
    assert labels == {}
    return only


def test_a_rate_is_extrapolated_to_its_window() -> None:
    # Samples at 15..120 lie in (0, 120]: 210 in 105 s, stretched by the 15 s before the first.
    assert number("sum(rate(requests_total[2m]))", 120) == pytest.approx(210 * (105 + 15) / 105 / 120)
    assert number("sum(increase(requests_total[2m]))", 120) == pytest.approx(240)
    assert number("sum(irate(requests_total[2m]))", 120) == pytest.approx(2)


def test_a_rate_survives_a_reset_and_needs_two_samples() -> None:
    base = Database(600)
    series = base.add("c", {})
    for time, sample in ((0, 100), (15, 110), (30, 5), (45, 15)):
        series.append(time, sample)
    # 10, then 5 after the reset, then 10: 25 in 45 s; the first sample lies 15 s inside the window.
    assert number("increase(c[1m])", 45, base) == pytest.approx(25 * (45 + 15) / 45)
    assert value("rate(c[10s])", 45, base) == []


def test_a_quantile_is_interpolated_in_its_bucket() -> None:
    assert number("histogram_quantile(0.7, sum by (le) (increase(ttft_bucket[2m])))", 60) == pytest.approx(0.75)
    assert value("histogram_quantile(0.99, ttft_bucket)", 60) == [({"pod": "a-1"}, 1.0)]


def test_a_quantile_of_nothing_is_no_number() -> None:
    base = Database(600)
    for bound in ("1", "+Inf"):
        series = base.add("b", {"le": bound})
        series.append(0, 0)
        series.append(15, 0)
    found = value("histogram_quantile(0.9, rate(b[1m]))", 15, base)
    assert isinstance(found, list)
    assert math.isnan(found[0][1])
    assert value("histogram_quantile(0.9, rate(b[1m])) >= 0", 15, base) == []


def test_a_series_is_seen_for_five_minutes_after_its_last_sample() -> None:
    assert value("sum(running)", 329.9) == [({}, 10.0)]
    assert value("sum(running)", 330) == []


def test_a_series_that_ended_is_gone_at_once_but_not_from_ranges() -> None:
    base = database()
    ended: list[Series] = base.select("running", ())
    base.end(ended, 31)
    assert value("sum(running)", 32, base) == []
    assert value("sum(max_over_time(running[1m]))", 32, base) == [({}, 10.0)]
    base.forget(1000)
    assert base.select("running", ()) == []


def test_a_selection_follows_series_that_come_and_go() -> None:
    base = database()
    query = compile_query(parse("count(running)"), base)
    assert query(30) == [({}, 2.0)]
    base.add("running", {"pod": "a-3"}).append(30, 1)
    assert query(30) == [({}, 3.0)]


def test_ambiguous_matches_are_refused() -> None:
    with pytest.raises(ManyToManyError):
        value("running + on() ready")


@pytest.mark.parametrize(
    "query",
    [
        "topk(1, running)",
        "running offset -5m",
        "sum(rate(running[1m] offset 5m))",
        "max_over_time(sum(running)[5m:1m])",
        'label_replace(running, "a", "b", "c", "d")',
        "running * on(pod) group_left() running",
        '{job="x"}',
    ],
)
def test_what_is_not_simulated_is_said(query: str) -> None:
    with pytest.raises(UnsupportedQueryError):
        value(query)


def test_the_longest_range_is_known() -> None:
    assert longest_range(parse("rate(a[5m]) + max_over_time(b[10m])")) == 600
    assert longest_range(parse("rate(a[5m]) or a unless a offset 10m")) == 900


def test_an_offset_sees_what_was_there_then() -> None:
    base = Database()
    old, new, gone = (base.add("asked", {"pod": pod}) for pod in ("a-1", "a-2", "a-3"))
    for time in (0.0, 30.0, 60.0, 90.0):
        old.append(time, time)
    new.append(90.0, 1.0)
    gone.append(30.0, 7.0)
    base.end([gone], 45.0)
    earlier = compile_query(parse("asked offset 1m"), base)
    assert earlier(90.0) == [({"pod": "a-1", "__name__": "asked"}, 30.0), ({"pod": "a-3", "__name__": "asked"}, 7.0)]
    assert earlier(110.0) == [({"pod": "a-1", "__name__": "asked"}, 30.0)]
    assert earlier(500.0) == []
    assert compile_query(parse("count(asked unless asked offset 1m)"), base)(95.0) == [({}, 1.0)]


def test_every_query_of_our_presets_is_simulated() -> None:
    queries = [
        trigger.query
        for stem in presets.STEMS
        for scaler in autoscalers(presets.render(stem))
        for trigger in scaler.triggers
        if trigger.is_prometheus
    ]
    assert len(queries) >= 10
    for query in queries:
        assert query is not None
        compile_query(query, Database())(0.0)
