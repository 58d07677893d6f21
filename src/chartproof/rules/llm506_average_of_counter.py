"""LLM506."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._alerts import rules_of
from chartproof.rules._all_queries import queries_of
from chartproof.rules._query_checks import raw_selectors
from chartproof.rules.registry import Context, rule

_AVERAGING = frozenset({"avg", "avg_over_time", "quantile", "quantile_over_time", "/"})
_COMPARING = frozenset({">", "<", ">=", "<="})


@rule(
    id="LLM506",
    name="average-of-counter",
    severity=Severity.WARNING,
    kinds=("PrometheusRule", "VMRule", "ConfigMap", "GrafanaDashboard"),
)
def average_of_counter(document: Document, context: Context) -> Iterator[Finding]:
    """A counter is averaged or compared without a rate.

    What:
        An alert or dashboard averages a cumulative series, divides `_sum` by `_count` without `rate`, or (in an
        alert) compares a counter with a number.

    Why it hurts:
        The result is the mean since the pods started: a slowdown after a week of uptime does not show, and a
        restart moves everything.

    Bad:
        `vllm:e2e_request_latency_seconds_sum / vllm:e2e_request_latency_seconds_count > 10`

    Good:
        `rate(..._sum[5m]) / rate(..._count[5m]) > 10`

    References:
        https://prometheus.io/docs/practices/histograms/#count-and-sum-of-observations
    """
    alerts = {each.path for each in rules_of(document)}
    for place, query, path in queries_of(document, context.release):
        is_rule = path.removesuffix(".expr") in alerts
        for selector in raw_selectors(query):
            averaged = _AVERAGING & set(selector.enclosing)
            compared = is_rule and _COMPARING & set(selector.enclosing)
            if averaged or compared:
                how = "averaged" if averaged else "compared"
                yield context.finding(
                    document,
                    f"{place}: {selector.metric} is cumulative; {how} without rate() it tells the mean since the "
                    "pods started",
                    path=path,
                    hint=f"write rate({selector.metric}{{...}}[5m])",
                )
