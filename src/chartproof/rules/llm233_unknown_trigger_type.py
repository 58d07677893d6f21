"""LLM233."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import scaler_keys, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM233", name="unknown-trigger-type", severity=Severity.ERROR, kinds=("ScaledObject",))
def unknown_trigger_type(document: Document, context: Context) -> Iterator[Finding]:
    """KEDA has no scaler of this trigger type.

    What:
        `type` of a trigger is none that KEDA 2.21 has. `kedify-otel` and `kedify-http` exist only in the
        commercial distribution.

    Why it hurts:
        The ScaledObject never becomes ready, no HorizontalPodAutoscaler is made, and nothing scales.

    Bad:
        `type: kedify-otel`

    Good:
        `type: external` with `scalerAddress` of the OpenTelemetry add-on.

    References:
        https://keda.sh/docs/latest/scalers/
        https://github.com/kedify/otel-add-on
    """
    for trigger in view(document, context).triggers:
        if trigger.type in scaler_keys():
            continue
        similar = difflib.get_close_matches(trigger.type, scaler_keys(), 1)
        hint = f"write type: {similar[0]}" if similar else "use a scaler of https://keda.sh/docs/latest/scalers/"
        if trigger.type.startswith("kedify-"):
            hint = "write type: external with scalerAddress of the add-on (external-push to wake from zero)"
        yield context.finding(
            document, f"KEDA has no trigger type {trigger.type!r}", path=f"{trigger.path}.type", hint=hint
        )
