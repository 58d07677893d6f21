"""LLM507."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.metrics import metric_of
from chartproof.release import Document
from chartproof.rules._all_queries import queries_of
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM507",
    name="kv-usage-summed",
    severity=Severity.WARNING,
    kinds=("PrometheusRule", "VMRule", "ConfigMap", "GrafanaDashboard"),
)
def kv_usage_summed(document: Document, context: Context) -> Iterator[Finding]:
    """A share such as KV-cache usage is summed over replicas.

    What:
        An alert or dashboard sums a metric that is a share of a whole (0..1) over replicas, without dividing by
        their number.

    Why it hurts:
        Three replicas at 40 % show 120 %: the alert fires on growth, and no threshold is right for two sizes.

    Bad:
        `sum(vllm:kv_cache_usage_perc) > 0.8`

    Good:
        `max(vllm:kv_cache_usage_perc) > 0.8`, or `avg`.

    References:
        https://github.com/GoogleCloudPlatform/monitoring-dashboard-samples/pull/1188
        https://docs.vllm.ai/en/latest/usage/metrics/
    """
    for place, query, path in queries_of(document, context.release):
        for selector in query.selectors:
            metric = metric_of(selector.metric)
            if metric is None or metric.unit != "ratio" or "sum" not in selector.enclosing or "/" in selector.enclosing:
                continue
            # A sum per replica is no sum over replicas; what encloses a rate or a comparison counts something else.
            if {">", "<", ">=", "<=", "=="} & set(selector.enclosing[: selector.enclosing.index("sum")]):
                continue
            if {"pod", "instance"} & set(query.grouping_labels()):
                continue
            yield context.finding(
                document,
                f"{place}: {selector.metric} is a share (0..1); its sum grows with the replicas",
                path=path,
                hint=f"use max({selector.metric}{{...}}) or avg(...)",
            )
