"""LLM242."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import scaler_keys, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM242", name="missing-trigger-key", severity=Severity.ERROR, kinds=("ScaledObject",))
def missing_trigger_key(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger lacks a metadata key that its scaler requires.

    What:
        A key that KEDA 2.21 requires for this trigger type is in neither `metadata` nor a TriggerAuthentication, or
        `authModes` asks for credentials and there is no `authenticationRef`.

    Why it hurts:
        KEDA cannot build the scaler: the ScaledObject never becomes ready and nothing scales. With a formula,
        `threshold` has no effect and is still required.

    Bad:
        A prometheus trigger without `threshold`.

    Good:
        `threshold: "1"`

    References:
        https://keda.sh/docs/latest/scalers/
    """
    for trigger in view(document, context).triggers:
        for key, facts in (scaler_keys().get(trigger.type) or {}).items():
            only_metadata = facts.get("readFrom") == ["metadata"]
            if facts.get("required") and only_metadata and not facts.get("default") and not trigger.metadata.get(key):
                yield context.finding(
                    document,
                    f"{trigger.label}: the {trigger.type} scaler requires {key}",
                    path=f"{trigger.path}.metadata.{key}",
                    hint=f"add {key}",
                )
        mode = trigger.metadata.get("authModes") or trigger.metadata.get("authMode")
        if mode and not trigger.authentication:
            yield context.finding(
                document,
                f"{trigger.label}: authModes {mode} without authenticationRef has no credentials",
                path=f"{trigger.path}.authenticationRef",
                hint="add authenticationRef: {name: <a TriggerAuthentication>}",
            )
