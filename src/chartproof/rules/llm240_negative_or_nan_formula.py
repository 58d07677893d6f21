"""LLM240."""

from __future__ import annotations

import math
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.formula import Node, bounds
from chartproof.languages.formula.syntax import Binary, Call, Conditional, Let, Literal, Name, Unary, children
from chartproof.release import Document
from chartproof.rules._autoscaling import trigger_bounds, view
from chartproof.rules.registry import Context, rule

#: Parts of the language whose bounds are known; a formula with others is not judged.
_KNOWN = (Binary, Call, Literal, Name, Unary, Conditional, Let)
_KNOWN_FUNCTIONS = frozenset({"max", "min", "mean", "median", "abs", "ceil", "floor", "round", "int", "float"})


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for each in children(node):
        yield from _nodes(each)


def _is_judged(node: Node) -> bool:
    return all(
        isinstance(each, _KNOWN)
        and (not isinstance(each, Call) or each.function in _KNOWN_FUNCTIONS)
        # What a division by zero gives is LLM204's.
        and (not isinstance(each, Binary) or each.operator in {"+", "-", "*"})
        for each in _nodes(node)
    )


@rule(id="LLM240", name="negative-or-nan-formula", severity=Severity.WARNING, kinds=("ScaledObject",))
def negative_or_nan_formula(document: Document, context: Context) -> Iterator[Finding]:
    """The formula can become negative.

    What:
        With triggers of 0 or more, the formula has values below 0.

    Why it hurts:
        KEDA passes a negative value on. It counts as inactive, so that a workload with minimum 0 is taken to
        zero; above zero, Kubernetes 1.34 and newer take a sum below zero for an overflow and grow to the
        maximum, and older ones shrink to the minimum.

    Bad:
        `formula: running - 5`

    Good:
        `formula: max(0, running - 5)`

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
        https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/controller/podautoscaler/replica_calculator.go
    """
    scaler = view(document, context)
    if scaler.formula is None or scaler.modifiers is None:
        return
    low = bounds(scaler.formula.tree, trigger_bounds(scaler)).low
    if low < 0 and _is_judged(scaler.formula.tree):
        yield context.finding(
            document,
            f"the formula can become negative{'' if math.isinf(low) else f' (down to {low:g})'}",
            path=f"{scaler.modifiers.path}.formula",
            hint=f"write max(0, {scaler.modifiers.formula.strip()})",
        )
