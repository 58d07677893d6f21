"""LLM216."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import prometheus_triggers, query_path, view
from chartproof.rules._query_checks import unknown_labels
from chartproof.rules.registry import Context, rule


@rule(id="LLM216", name="label-unknown-to-metric", severity=Severity.ERROR, kinds=("ScaledObject",))
def label_unknown_to_metric(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger's query selects by a label, or a label value, that the metric never has.

    What:
        A matcher of a Prometheus trigger names a label that the engine's metric does not carry (such as `model`
        for `model_name`), or a value outside its closed set (such as `finished_reason="failed"`).

    Why it hurts:
        Such a selector matches nothing. The empty result counts as 0, and the workload never scales.

    Bad:
        `sum(vllm:num_requests_waiting{model="llama"})`

    Good:
        `sum(vllm:num_requests_waiting{model_name="llama"})`

    References:
        https://docs.vllm.ai/en/latest/usage/metrics/
        https://github.com/vllm-project/production-stack/blob/main/helm/templates/scaledobject-vllm.yaml
    """
    for trigger in prometheus_triggers(view(document, context)):
        if trigger.query is not None:
            for problem in unknown_labels(trigger.query, context.release):
                yield context.finding(
                    document, f"{trigger.label}: {problem.message}", path=query_path(trigger), hint=problem.hint
                )
