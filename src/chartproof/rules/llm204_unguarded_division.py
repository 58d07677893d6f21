"""LLM204."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.formula import divisions_by_zero, names
from chartproof.release import Document
from chartproof.rules._autoscaling import trigger_bounds, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM204", name="unguarded-division", severity=Severity.ERROR, kinds=("ScaledObject",))
def unguarded_division(document: Document, context: Context) -> Iterator[Finding]:
    """The formula divides by a value that can be zero.

    What:
        A division (or `%`) in a scaling formula whose divisor can be 0 where it is evaluated. Conditions such
        as `b > 0 ? a / b : 0` and `max(b, 1)` guard it.

    Why it hurts:
        x/0 is infinite and 0/0 is not a number; KEDA turns both into the smallest integer there is. Kubernetes
        1.34 and newer take a sum below zero for an overflow and grow to the maximum; older ones shrink to the
        minimum. Either way the load is not asked.

    Bad:
        `formula: waiting / running`

    Good:
        `formula: running > 0 ? waiting / running : waiting`

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
        https://github.com/kedacore/keda/blob/main/pkg/scaling/modifiers/formula.go
        https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/controller/podautoscaler/replica_calculator.go
    """
    scaler = view(document, context)
    if scaler.formula is None or scaler.modifiers is None:
        return
    for division in divisions_by_zero(scaler.formula.tree, trigger_bounds(scaler)):
        divisor = ", ".join(sorted(names(division.right))) or "the divisor"
        yield context.finding(
            document,
            f"the formula divides by {divisor}, which can be 0: KEDA then hands the autoscaler "
            "-9223372036854775808 and it goes to its maximum (Kubernetes 1.34 and newer) or minimum (older)",
            path=f"{scaler.modifiers.path}.formula",
            hint=f"guard it: {divisor} > 0 ? <division> : 0",
        )
