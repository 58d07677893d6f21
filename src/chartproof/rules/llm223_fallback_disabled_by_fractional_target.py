"""LLM223."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


@rule(id="LLM223", name="fallback-disabled-by-fractional-target", severity=Severity.ERROR, kinds=("ScaledObject",))
def fallback_disabled_by_fractional_target(document: Document, context: Context) -> Iterator[Finding]:
    """A target that is no whole number silently switches the fallback off.

    What:
        `scalingModifiers.target` is not an integer (such as "25.5" or "0.8") and `fallback` is set.

    Why it hurts:
        KEDA reads the target with ParseInt before it uses the fallback; where that fails, the fallback is
        skipped with a log line only. It is missing when it is needed.

    Bad:
        `target: "25.5"` with `fallback`.

    Good:
        `target: "26"`; for a share, multiply the formula and write `target: "80"`.

    References:
        https://github.com/kedacore/keda/blob/main/pkg/fallback/fallback.go
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
    """
    scaler = view(document, context)
    modifiers = scaler.modifiers
    if modifiers is None or scaler.fallback is None or not modifiers.target or modifiers.target <= 0:
        return
    if not re.fullmatch(r"[+-]?[0-9]+", modifiers.target_text):
        yield context.finding(
            document,
            f"target {modifiers.target_text!r} is no whole number, which switches the fallback off",
            path=f"{modifiers.path}.target",
            hint=f'write target: "{max(1, round(modifiers.target))}" and scale the formula accordingly',
        )
