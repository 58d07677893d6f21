"""LLM210."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


@rule(id="LLM210", name="activation-target-not-numeric", severity=Severity.ERROR, kinds=("ScaledObject",))
def activation_target_not_numeric(document: Document, context: Context) -> Iterator[Finding]:
    """The activation target or an activation threshold is not a number.

    What:
        `scalingModifiers.activationTarget`, or `activationThreshold` of a trigger, cannot be read as a number.

    Why it hurts:
        KEDA does not check it when the object is created. It fails at every poll instead: nothing starts from
        zero and nothing stops.

    Bad:
        `activationTarget: "25%"`

    Good:
        `activationTarget: "0"`

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
    """
    scaler = view(document, context)
    modifiers = scaler.modifiers
    if modifiers is not None and modifiers.activation is None:
        yield context.finding(
            document,
            f"activationTarget {modifiers.activation_text!r} is not a number",
            path=f"{modifiers.path}.activationTarget",
            hint='write activationTarget: "0"',
        )
    for trigger in scaler.triggers:
        text = trigger.metadata.get("activationThreshold", "")
        if text and trigger.number("activationThreshold") is None:
            yield context.finding(
                document,
                f"{trigger.label}: activationThreshold {text!r} is not a number",
                path=f"{trigger.path}.metadata.activationThreshold",
                hint='write activationThreshold: "0"',
            )
