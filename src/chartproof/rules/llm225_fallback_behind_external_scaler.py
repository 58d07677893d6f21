"""LLM225."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.autoscaler import EXTERNAL_TYPES
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


@rule(id="LLM225", name="fallback-behind-external-scaler", severity=Severity.WARNING, kinds=("ScaledObject",))
def fallback_behind_external_scaler(document: Document, context: Context) -> Iterator[Finding]:
    """The fallback does not cover an external scaler that cannot be reached.

    What:
        A ScaledObject has a `fallback` and a trigger of type `external` or `external-push`.

    Why it hurts:
        When the external scaler is down, KEDA fails before it comes to the fallback: the replicas freeze as
        they are, zero included.

    Bad:
        `type: external` (the OpenTelemetry add-on) with `fallback` as the only safety.

    Good:
        Two replicas of the external scaler and an alert on KEDA errors; or a `prometheus` trigger.

    References:
        https://github.com/kedacore/keda/issues/8056
        https://github.com/kedacore/keda/issues/5914
    """
    scaler = view(document, context)
    for trigger in scaler.effective_triggers:
        if trigger.type in EXTERNAL_TYPES and scaler.fallback is not None:
            yield context.finding(
                document,
                f"{trigger.label}: while the external scaler is down, the fallback is never reached",
                path=trigger.path,
                hint="use a prometheus trigger, or alert on keda_scaled_object_errors_total",
            )
