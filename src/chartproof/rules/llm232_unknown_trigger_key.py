"""LLM232."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace

from chartproof.autoscaler import EXTERNAL_TYPES
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import scaler_keys, view
from chartproof.rules.registry import Context, rule

#: Keys that KEDA reads for every trigger type.
_COMMON = frozenset({"scaledObjectName"})
#: Keys of old examples: once needed, ignored since, and harmless.
_WITHOUT_EFFECT = frozenset({"metricName"})


@rule(id="LLM232", name="unknown-trigger-key", severity=Severity.ERROR, kinds=("ScaledObject",))
def unknown_trigger_key(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger has a metadata key that its scaler does not know.

    What:
        A key of `metadata` is not among those that KEDA 2.21 reads for this trigger type: misspelled, from
        another scaler, or removed.

    Why it hurts:
        KEDA ignores unknown keys. What the key was meant to say (an activation threshold, a way to handle empty
        results) silently keeps its default.

    Bad:
        `activationTreshold: "5"`; `metricName` on a prometheus trigger.

    Good:
        `activationThreshold: "5"`

    References:
        https://keda.sh/docs/latest/scalers/
        https://github.com/kedacore/keda/blob/main/schema/generated/scalers-schema.json
    """
    for trigger in view(document, context).triggers:
        keys = scaler_keys().get(trigger.type)
        # External scalers define their own keys.
        if keys is None or trigger.type in EXTERNAL_TYPES:
            continue
        known = {name for name, facts in keys.items() if "metadata" in facts.get("readFrom", ())}
        environment = {f"{name}FromEnv" for name, facts in keys.items() if "environment" in facts.get("readFrom", ())}
        for key in trigger.metadata:
            if key in known | environment | _COMMON or key.startswith("_"):
                continue
            if key in keys:
                message, hint = (
                    "is read from authentication only, not from metadata",
                    "move it to a TriggerAuthentication",
                )
            else:
                similar = difflib.get_close_matches(key, known, 1)
                message = f"is no key of the {trigger.type} scaler"
                hint = f"write {similar[0]}" if similar else "remove it"
            if key in _WITHOUT_EFFECT:
                finding = context.finding(
                    document,
                    f"{trigger.label}: {key} has no effect any more",
                    path=f"{trigger.path}.metadata.{key}",
                    hint="remove it",
                )
                yield replace(finding, severity=Severity.NOTE)
                continue
            yield context.finding(
                document, f"{trigger.label}: {key!r} {message}", path=f"{trigger.path}.metadata.{key}", hint=hint
            )
