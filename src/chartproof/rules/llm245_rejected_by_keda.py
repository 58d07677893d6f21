"""LLM245."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.autoscaler import Autoscaler
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


def _reasons(scaler: Autoscaler) -> Iterator[tuple[str, str, str]]:
    seen: set[str] = set()
    for trigger in scaler.triggers:
        if trigger.name and trigger.name in seen:
            yield f"{trigger.path}.name", f"two triggers are named {trigger.name}", "give each its own name"
        seen.add(trigger.name)
        if trigger.use_cached_metrics and (trigger.is_cron or trigger.is_resource):
            path = f"{trigger.path}.useCachedMetrics"
            yield path, f"{trigger.label}: {trigger.type} cannot use cached metrics", "remove useCachedMetrics"
    if scaler.triggers and all(each.is_resource for each in scaler.triggers) and scaler.minimum == 0:
        yield "spec.minReplicaCount", "cpu and memory alone cannot scale to zero", "write minReplicaCount: 1"
    modifiers = scaler.modifiers
    if modifiers is None:
        return
    if not modifiers.formula:
        yield f"{modifiers.path}.formula", "scalingModifiers without a formula", "write the formula"
    if modifiers.target is None or modifiers.target <= 0:
        text = modifiers.target_text or "missing"
        yield f"{modifiers.path}.target", f"the target of the formula is {text}", 'write a number above 0: target: "25"'
    if modifiers.metric_type == "Utilization":
        yield f"{modifiers.path}.metricType", "metricType Utilization with a formula", "write metricType: AverageValue"


@rule(id="LLM245", name="rejected-by-keda", severity=Severity.ERROR, kinds=("ScaledObject",))
def rejected_by_keda(document: Document, context: Context) -> Iterator[Finding]:
    """KEDA refuses the ScaledObject for a reason that no schema expresses.

    What:
        Two triggers of one name, a formula without target, a target that is not above 0, metric type
        Utilization beside a formula, cached metrics on a cron, or scaling to zero on cpu and memory alone.

    Why it hurts:
        The webhook of KEDA refuses the object; where the webhook is not installed, the ScaledObject never
        becomes ready. Nothing scales.

    Bad:
        `scalingModifiers: {formula: running + waiting}` without `target`.

    Good:
        `scalingModifiers: {formula: running + waiting, target: "25"}`

    References:
        https://github.com/kedacore/keda/blob/main/apis/keda/v1alpha1/scaledobject_webhook.go
    """
    scaler = view(document, context)
    for path, message, hint in _reasons(scaler):
        yield context.finding(document, message, path=path, hint=hint)
