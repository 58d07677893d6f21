"""What can be wrong with a PromQL query, wherever it stands: in a trigger, an alert or a dashboard."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import promql_parser as ast

from chartproof import metrics
from chartproof.languages.promql import (
    RATE_FUNCTIONS,
    Query,
    Range,
    Selector,
    of_expression,
    unwrap,
    walk,
)
from chartproof.metrics import MISTAKEN_MODEL_LABELS, TARGET_LABELS, Metric, Presence, metric_of
from chartproof.release import Release
from chartproof.rules._monitors import added_labels
from chartproof.versions import Version, format_version
from chartproof.workload import EngineContainer

#: Samples that a rate needs to stand a missed scrape: two make a rate, one may be late, one may be lost.
SCRAPES_PER_RATE = 4
#: Labels that narrow a query to one model or workload, beside any label that a release's monitors add.
IDENTIFYING_LABELS = frozenset(
    {"model_name", "pod", "service", "job", "container", "instance", "app", "deployment", "workload", "statefulset"}
    | {"exported_pod", "exported_container", "exported_job", "kubernetes_pod_name", "pod_name"}
)
_PERCENT = 100
_COMMON_LABELS = ("namespace", "pod", "container", "service", "job", "instance")
#: How alike a misspelling is to the label that was meant (difflib ratio).
_SIMILAR = 0.8


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a query, and what to write instead."""

    message: str
    hint: str


def engine_versions(engines: list[EngineContainer]) -> Mapping[str, Version | None]:
    """Oldest known version per engine: what all of them export."""
    found: dict[str, Version | None] = {}
    for each in engines:
        known = found.get(each.engine)
        if each.version is not None and (known is None or each.version < known):
            found[each.engine] = each.version
    return found


def unknown_metrics(
    query: Query, versions: Mapping[str, Version | None], recorded: frozenset[str] = frozenset()
) -> Iterator[Problem]:
    """Series that the exporter's version does not have: they are empty for ever, without any error.

    `recorded` are names that recording rules make.
    """
    for series in query.metrics:
        found = metrics.look_up(series, versions)
        if found is None or found.presence is Presence.EXPORTED or series in recorded:
            continue
        at = versions.get(metrics.exporter_of(series) or "")
        version = f" {format_version(at)}" if at else ""
        exporter = metrics.exporter_of(series)
        instead = f"write {found.suggestion}" if found.suggestion else f"use a series that {exporter} exports"
        yield Problem(f"{series} does not exist in {exporter}{version}: {found.reason}", instead)


def unknown_labels(query: Query, release: Release) -> Iterator[Problem]:
    """Labels, and label values, that a known metric never has: such a selector matches nothing."""
    added = added_labels(release)
    for selector in query.selectors:
        metric = metric_of(selector.metric)
        if metric is None:
            continue
        for matcher in selector.matchers:
            if matcher.operator.startswith("!") or not matcher.limits:
                continue
            right = meant_label(matcher.label, metric, added)
            if right:
                yield Problem(
                    f"{selector.metric} has no label {matcher.label!r}: {matcher} matches nothing",
                    f'write {right}{matcher.operator}"{matcher.value}"',
                )
            allowed = (metric.values or {}).get(matcher.label)
            if allowed and not any(matcher.accepts(value) for value in allowed):
                yield Problem(
                    f"{matcher.label} of {selector.metric} is one of {', '.join(allowed)}: {matcher} matches nothing",
                    f"use one of {', '.join(allowed)}",
                )
    yield from _unknown_groupings(query, added)


def meant_label(label: str, metric: Metric, added: frozenset[str]) -> str:
    """The label that was meant, where a metric does not have this one; empty where it may exist.

    Any label can come from a relabelling that the release does not show, so only names that people
    are known to mistake, and misspellings of labels that do exist, are judged.
    """
    if "*" in added or metric.has_label(label) or label in TARGET_LABELS or label in added:
        return ""
    if label in MISTAKEN_MODEL_LABELS:
        return "model_name"
    similar = difflib.get_close_matches(label, (*metric.labels, *_COMMON_LABELS), 1, cutoff=_SIMILAR)
    return similar[0] if similar else ""


def _unknown_groupings(query: Query, added: frozenset[str]) -> Iterator[Problem]:
    known = [metric for selector in query.selectors if (metric := metric_of(selector.metric)) is not None]
    if not known or len(known) < len(query.selectors):
        return
    for label in dict.fromkeys(query.grouping_labels()):
        if (
            label in MISTAKEN_MODEL_LABELS
            and not {label, "*"} & added
            and not any(each.has_label(label) for each in known)
        ):
            yield Problem(f"groups by {label!r}, which {known[0].name} does not have", "group by model_name")


def unlimited(query: Query, release: Release) -> Iterator[Selector]:
    """Engine selectors that nothing narrows to one model or workload."""
    labels = IDENTIFYING_LABELS | MISTAKEN_MODEL_LABELS | added_labels(release)
    for selector in query.selectors:
        if not metrics.is_engine_series(selector.metric):
            continue
        plain = TARGET_LABELS - IDENTIFYING_LABELS
        if not any(
            each.limits and (each.label in labels or (each.label not in plain and not _is_own(each.label, selector)))
            for each in selector.matchers
        ):
            yield selector


def _is_own(label: str, selector: Selector) -> bool:
    metric = metric_of(selector.metric)
    return metric is not None and metric.has_label(label)


def raw_selectors(query: Query) -> Iterator[Selector]:
    """Selectors of cumulative series that are read as they are."""
    offsets = {each.metric for each in query.selectors if each.offset}
    read = set(query.metrics)
    for selector in query.selectors:
        name = selector.metric
        stem = metrics.stem_of(name)
        # Many gauges end in _count; beside the _sum of the same name it is a histogram's or summary's.
        is_pair = name.endswith(("_sum", "_count")) and {f"{stem}_sum", f"{stem}_count"} <= read
        if (
            not (metrics.looks_cumulative(name) or is_pair)
            or selector.is_rated
            or selector.asks_presence
            or name in offsets
        ):
            continue
        if name.endswith("_bucket") and any(each.startswith("histogram_quantile") for each in selector.enclosing):
            continue
        yield selector


def raw_counters(query: Query) -> Iterator[Problem]:
    """Cumulative series read as they are: they only grow, and start again when a pod does."""
    for selector in raw_selectors(query):
        yield Problem(
            f"{selector.metric} only grows; without rate() its value says how long the pods have run, "
            "not how busy they are",
            f"write rate({selector.metric}{{...}}[5m])",
        )


def broken_quantiles(query: Query) -> Iterator[Problem]:
    """histogram_quantile over buckets that are not rated, have lost `le`, or with a quantile outside 0 to 1."""
    for call in query.calls("histogram_quantile"):
        quantile, argument = call.args
        if isinstance(quantile, ast.NumberLiteral) and not 0 <= quantile.val <= 1:
            yield Problem(
                f"the quantile {quantile.val:g} is outside 0..1, the result is infinite",
                f"write {quantile.val / 100:g}",
            )
        buckets = [each for each in of_expression(argument).selectors if each.metric.endswith("_bucket")]
        for each in buckets:
            if not each.is_rated:
                yield Problem(
                    f"histogram_quantile over {each.metric} without rate(): the quantile of everything since the pods "
                    "started, which hardly moves",
                    f"histogram_quantile({quantile.prettify()}, sum by (le) (rate({each.metric}{{...}}[5m])))",
                )
        if buckets and _loses_le(argument):
            yield Problem(
                "histogram_quantile over an aggregation that drops the label le: the result is empty",
                "aggregate with sum by (le)",
            )


def _loses_le(node: Any) -> bool:
    for each in walk(unwrap(node)):
        if not isinstance(each, ast.AggregateExpr):
            continue
        by = each.modifier is not None and each.modifier.type == ast.AggModifierType.By
        labels = list(each.modifier.labels) if each.modifier is not None else []
        if ("le" not in labels) if by or each.modifier is None else ("le" in labels):
            return True
    return False


def short_windows(query: Query, interval_seconds: float) -> Iterator[tuple[Selector, float]]:
    """Rates over a window of fewer than four scrapes, and the window they need."""
    least = SCRAPES_PER_RATE * interval_seconds
    for selector in query.selectors:
        if selector.range_seconds is not None and selector.is_rated and selector.range_seconds < least:
            function = next(each for each in selector.enclosing if each in RATE_FUNCTIONS)
            if function != "changes":
                yield selector, least


def range_of(series: str) -> Range | None:
    """Values that a threshold on a series can sensibly have, None where unknown."""
    metric = metric_of(series)
    if metric is None or metric.low is None or metric.high is None or metric.grows(series):
        return None
    return Range(metric.low, metric.high)


def range_of_histogram(series: str) -> Range | None:
    """As `range_of`; for a histogram's name without ending, the range of what it observes."""
    metric = metric_of(series) or metric_of(series + "_bucket")
    if metric is None or metric.low is None or metric.high is None:
        return None
    return None if metric.grows(series) and series != metric.name else Range(metric.low, metric.high)


def outside_range(query: Query, number: float, *, operator: str = ">", per_replica: bool = False) -> Problem | None:
    """Whether comparing the query's result with a number can never (or must always) hold."""
    if any(range_of_histogram(each.removesuffix("_bucket")) is None for each in query.metrics):
        return None
    found = query.range(range_of_histogram, per_replica=per_replica)
    if found.low < 0 or found.high == float("inf"):
        return None
    names = ", ".join(query.metrics)
    beyond = number > found.high or (number == found.high and operator == ">")
    if beyond or number < found.low:
        scale = f"{found.low:g}..{found.high:g}"
        hint = f"choose a threshold within {scale}"
        if beyond and found.high <= 1 < number <= _PERCENT:
            hint = f"write {number / _PERCENT:g}"
        elif beyond and number / 1000 <= found.high:
            hint = f"write {number / 1000:g}"
        return Problem(f"{names} is {_unit(query)}{scale}: {operator} {number:g} is outside of it", hint)
    if found.high == _PERCENT and 0 < number <= 1 and operator in {">", ">="}:
        return Problem(
            f"the query gives percent (0..100), and {number:g} % is next to nothing", f"write {number * _PERCENT:g}"
        )
    return None


def _unit(query: Query) -> str:
    units = {metric.unit for each in query.metrics if (metric := metric_of(each)) is not None and metric.unit}
    unit = units.pop() if len(units) == 1 else ""
    return f"in {unit}, at most " if unit in {"seconds", "mebibytes", "celsius", "watts"} else ""
