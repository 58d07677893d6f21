"""LLM241."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import prometheus_triggers, query_path, view
from chartproof.rules._query_subjects import not_of_this_release
from chartproof.rules.registry import Context, rule


@rule(id="LLM241", name="query-selects-nothing", severity=Severity.ERROR, kinds=("ScaledObject",))
def query_selects_nothing(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger's query asks for another model, namespace or pod than the one that is scaled.

    What:
        A matcher on `model_name`, `namespace`, `pod`, `container`, `job` or `service` in a trigger's query fits no
        engine that this autoscaler scales. The label `model_name` carries the first name of
        `--served-model-name`, else the model as it was given.

    Why it hurts:
        The query is empty, or counts the load of somebody else. The workload stays at its minimum under any
        load, or scales for others.

    Bad:
        `model_name="llama-3.1-8b"` where the engine runs with `--served-model-name llama`.

    Good:
        `model_name="llama"`

    References:
        https://docs.vllm.ai/en/latest/usage/metrics/
        https://github.com/llm-d/llm-d-benchmark/pull/1611
    """
    scaler = view(document, context)
    for trigger in prometheus_triggers(scaler):
        if trigger.query is not None and scaler.engines:
            for problem in not_of_this_release(trigger.query, context.release, list(scaler.engines)):
                yield context.finding(
                    document, f"{trigger.label}: {problem.message}", path=query_path(trigger), hint=problem.hint
                )
