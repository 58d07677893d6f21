"""LLM234."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import load_of, serves_a_model, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM234", name="activation-threshold-excludes-one", severity=Severity.WARNING, kinds=("ScaledObject",))
def activation_threshold_excludes_one(document: Document, context: Context) -> Iterator[Finding]:
    """An activation of 1 never wakes on one request: the comparison is strictly greater.

    What:
        The minimum is 0 and `activationThreshold` (or `activationTarget`) is 1 or more, on a value that counts
        requests.

    Why it hurts:
        A value equal to the threshold is inactive. One waiting request, the usual way a model is first asked
        for, never starts a replica.

    Bad:
        `activationThreshold: "1"` meant as "at least one request".

    Good:
        `activationThreshold: "0"` (the default): anything above zero wakes.

    References:
        https://keda.sh/docs/latest/concepts/scaling-deployments/#activating-and-scaling-thresholds
    """
    scaler = view(document, context)
    if not scaler.scales_to_zero or not serves_a_model(scaler):
        return
    if scaler.modifiers is not None:
        # Where running requests count, LLM209 says more.
        counts_running = any("running" in load_of(each) for each in scaler.effective_triggers)
        if (scaler.modifiers.activation or 0) >= 1 and not counts_running:
            yield context.finding(
                document,
                f"activationTarget {scaler.modifiers.activation_text} is exceeded only by more than that: "
                f"{scaler.modifiers.activation_text} never wakes",
                path=f"{scaler.modifiers.path}.activationTarget",
                hint='write activationTarget: "0"',
            )
        return
    for trigger in scaler.triggers:
        limit = trigger.activation_threshold
        if limit >= 1 and not ("running" in load_of(trigger) and limit > 1):
            yield context.finding(
                document,
                f"{trigger.label}: activationThreshold {limit:g} is exceeded only by more than {limit:g}",
                path=f"{trigger.path}.metadata.activationThreshold",
                hint='write activationThreshold: "0"',
            )
