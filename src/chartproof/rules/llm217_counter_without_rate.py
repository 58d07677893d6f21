"""LLM217."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import prometheus_triggers, query_path, view
from chartproof.rules._query_checks import raw_counters
from chartproof.rules.registry import Context, rule


@rule(id="LLM217", name="counter-without-rate", severity=Severity.ERROR, kinds=("ScaledObject",))
def counter_without_rate(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger reads a counter without taking its rate.

    What:
        The query of a Prometheus trigger uses a cumulative series (`_total`, `_sum`, `_count`) as it is,
        without `rate`, `increase` or a difference to an earlier time.

    Why it hurts:
        The value grows for as long as pods live, so the workload only ever scales up, and falls back when a pod
        restarts.

    Bad:
        `sum(vllm:prompt_tokens_total{model_name="m"})`

    Good:
        `sum(rate(vllm:prompt_tokens_total{model_name="m"}[2m]))`

    References:
        https://prometheus.io/docs/concepts/metric_types/#counter
        https://prometheus.io/docs/prometheus/latest/querying/functions/#rate
    """
    for trigger in prometheus_triggers(view(document, context)):
        if trigger.query is not None:
            for problem in raw_counters(trigger.query):
                yield context.finding(
                    document, f"{trigger.label}: {problem.message}", path=query_path(trigger), hint=problem.hint
                )
