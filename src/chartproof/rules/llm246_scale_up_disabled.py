"""LLM246."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import serves_a_model, view
from chartproof.rules.registry import Context, rule

_LONG_SECONDS = 300


@rule(
    id="LLM246", name="scale-up-disabled", severity=Severity.WARNING, kinds=("ScaledObject", "HorizontalPodAutoscaler")
)
def scale_up_disabled(document: Document, context: Context) -> Iterator[Finding]:
    """The autoscaler may not add replicas, or adds them too slowly to matter.

    What:
        `behavior.scaleUp` has `selectPolicy: Disabled`, or a stabilisation window of five minutes and more.

    Why it hurts:
        Load that rises waits for the window on top of the cold start, or for ever.

    Bad:
        `scaleUp: {selectPolicy: Disabled}`

    Good:
        `scaleUp: {stabilizationWindowSeconds: 0}` with policies of your choice.

    References:
        https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
    """
    scaler = view(document, context)
    if not serves_a_model(scaler):
        return
    prefix = "spec.advanced.horizontalPodAutoscalerConfig." if scaler.is_keda else "spec."
    if scaler.scale_up.select_policy == "Disabled":
        yield context.finding(
            document,
            "scaleUp.selectPolicy is Disabled: replicas are never added",
            path=f"{prefix}behavior.scaleUp.selectPolicy",
            hint="write selectPolicy: Max",
        )
    elif (scaler.scale_up.window_seconds or 0) >= _LONG_SECONDS:
        yield context.finding(
            document,
            f"a rising load waits {scaler.scale_up.window_seconds:g} s before replicas are added",
            path=f"{prefix}behavior.scaleUp.stabilizationWindowSeconds",
            hint="write stabilizationWindowSeconds: 0",
        )
