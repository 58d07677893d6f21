"""LLM209."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import load_of, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM209", name="activation-target-with-zero-minimum", severity=Severity.ERROR, kinds=("ScaledObject",))
def activation_target_with_zero_minimum(document: Document, context: Context) -> Iterator[Finding]:
    """An activation above 0 lets KEDA scale to zero while requests are running.

    What:
        `activationTarget` (or, without a formula, `activationThreshold`) is above 0, the minimum is 0, and the
        value counts running requests.

    Why it hurts:
        The activation is also the line below which the workload is inactive, and it is strict: up to that many
        requests may be streaming when KEDA, after the cooldown, sets the replicas to 0.

    Bad:
        `activationTarget: "5"` with `minReplicaCount: 0` and `formula: running + waiting * 10`.

    Good:
        `activationTarget: "0"` (or left out).

    References:
        https://keda.sh/docs/latest/concepts/scaling-deployments/#activating-and-scaling-thresholds
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
    """
    scaler = view(document, context)
    if not scaler.scales_to_zero:
        return
    modifiers = scaler.modifiers
    if modifiers is not None:
        counts_running = any("running" in load_of(each) for each in scaler.effective_triggers)
        if counts_running and (modifiers.activation or 0) > 0:
            yield context.finding(
                document,
                f"activationTarget {modifiers.activation_text}: a value of up to {modifiers.activation_text} counts as "
                "inactive, and the replicas go to zero while requests run",
                path=f"{modifiers.path}.activationTarget",
                hint='write activationTarget: "0"',
            )
        return
    counting = [each for each in scaler.triggers if "running" in load_of(each)]
    if counting and all(each.activation_threshold > 1 for each in counting):
        trigger = counting[0]
        yield context.finding(
            document,
            f"{trigger.label}: up to {trigger.activation_threshold:g} running requests count as inactive, and the "
            "replicas go to zero while they run",
            path=f"{trigger.path}.metadata.activationThreshold",
            hint='write activationThreshold: "0"',
        )
