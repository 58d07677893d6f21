"""LLM218."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import prometheus_triggers, query_path, view
from chartproof.rules._query_checks import broken_quantiles
from chartproof.rules.registry import Context, rule


@rule(id="LLM218", name="quantile-without-rate", severity=Severity.ERROR, kinds=("ScaledObject",))
def quantile_without_rate(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger's histogram_quantile does not work: no rate, no label le, or a quantile above 1.

    What:
        The query of a Prometheus trigger applies `histogram_quantile` to buckets without `rate`, to an
        aggregation that drops the label `le`, or with a quantile outside 0..1.

    Why it hurts:
        Without rate the quantile covers everything since the pods started and hardly moves; without `le` the
        result is empty; a quantile of 95 is infinite, which KEDA counts as 0 or as an error.

    Bad:
        `histogram_quantile(0.95, sum(vllm:time_to_first_token_seconds_bucket))`

    Good:
        `histogram_quantile(0.95, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[2m])))`

    References:
        https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
    """
    for trigger in prometheus_triggers(view(document, context)):
        if trigger.query is not None:
            for problem in broken_quantiles(trigger.query):
                yield context.finding(
                    document, f"{trigger.label}: {problem.message}", path=query_path(trigger), hint=problem.hint
                )
