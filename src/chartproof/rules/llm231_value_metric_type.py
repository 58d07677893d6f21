"""LLM231."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import serves_a_model, view
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM231", name="value-metric-type", severity=Severity.WARNING, kinds=("ScaledObject", "HorizontalPodAutoscaler")
)
def value_metric_type(document: Document, context: Context) -> Iterator[Finding]:
    """A sum over replicas is scaled with metric type Value, which counts only ready replicas.

    What:
        `metricType: Value` (of the formula, or of a trigger whose query is a sum over replicas) on a model
        server.

    Why it hurts:
        Value multiplies the ratio to the target by the number of ready pods. While replicas load for minutes,
        the same load keeps asking for the same few, and once they are ready it asks for far too many.

    Bad:
        `metricType: Value` with `sum(vllm:num_requests_running{...})`

    Good:
        `metricType: AverageValue` (the default).

    References:
        https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
    """
    scaler = view(document, context)
    if not serves_a_model(scaler):
        return
    hint = "write metricType: AverageValue"
    message = "multiplies by ready replicas only: slow starts are answered late, and then with too many"
    if scaler.modifiers is not None:
        if scaler.modifiers.metric_type == "Value":
            yield context.finding(
                document,
                f"metricType Value of the formula {message}",
                path=f"{scaler.modifiers.path}.metricType",
                hint=hint,
            )
        return
    for trigger in scaler.triggers:
        if trigger.metric_type == "Value" and (trigger.query is None or trigger.query.outer_aggregation == "sum"):
            yield context.finding(
                document, f"{trigger.label}: metricType Value {message}", path=f"{trigger.path}.metricType", hint=hint
            )
