"""LLM202."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


@rule(id="LLM202", name="trigger-not-in-formula", severity=Severity.ERROR, kinds=("ScaledObject",))
def trigger_not_in_formula(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger stands beside a formula that does not read it, so it has no effect on scaling.

    What:
        With `scalingModifiers.formula`, only triggers that the formula names take part. A trigger without a
        name, or with a name the formula does not read, is still queried but its value is thrown away.

    Why it hurts:
        A cron beside a formula neither starts nor keeps replicas. Worse, the useless trigger can still fail,
        and one failing trigger freezes all scaling.

    Bad:
        `formula: running + waiting * 10` beside a cron trigger named `office_hours`.

    Good:
        `formula: max(running + waiting * 10, office_hours * 25)`; or remove the trigger.

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
        https://github.com/kedacore/keda/issues/7195
    """
    scaler = view(document, context)
    if scaler.formula is None:
        return
    for trigger in scaler.triggers:
        # cpu and memory stay metrics of their own; external-push activates without the formula.
        if trigger.is_resource or trigger.type == "external-push" or trigger.name in scaler.formula_names:
            continue
        missing = "has no name" if not trigger.name else "is not in the formula"
        hint = (
            f"max(<formula>, {trigger.name or 'office_hours'} * <target>)"
            if trigger.is_cron
            else "use its name in the formula"
        )
        yield context.finding(
            document,
            f"{trigger.label} {missing}, so it neither starts replicas nor adds any",
            path=trigger.path,
            hint=f"{hint}, or remove the trigger",
        )
