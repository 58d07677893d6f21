"""What can be said of a formula without running it: names, sums, bounds, divisions by zero."""

# ruff: noqa: PLR0911 - one case per kind of node or operator is the plainest form
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chartproof.languages.formula.syntax import (
    Binary,
    Call,
    Conditional,
    Let,
    Literal,
    Member,
    Name,
    Node,
    Unary,
    children,
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """A closed interval that holds every value of an expression."""

    low: float
    high: float

    @property
    def may_be_zero(self) -> bool:
        """Whether zero lies inside."""
        return self.low <= 0 <= self.high


#: Metrics of engines count things: they start at zero and are not negative.
NOT_NEGATIVE = Bounds(0.0, math.inf)
_ANYTHING = Bounds(-math.inf, math.inf)
_NEGATED = {"<": ">=", ">": "<=", "<=": ">", ">=": "<", "==": "!=", "!=": "=="}
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}
#: How far beyond a strict bound a value is taken to be; products of a few such bounds stay above zero.
_SMALLEST = 1e-9

Known = Mapping[Node, Bounds]


def names(node: Node) -> frozenset[str]:
    """Names a formula reads from its triggers: neither `let` variables nor `$env`."""
    match node:
        case Name(name):
            return frozenset() if name == "$env" else frozenset({name})
        case Let(name, value, body):
            return names(value) | (names(body) - {name})
        case Member(Name("$env"), Literal(str(name))):
            return frozenset({name})
        case _:
            return frozenset().union(*(names(each) for each in children(node)))


def additive_terms(node: Node) -> tuple[Node, ...]:
    """The parts of a sum: `a + b * 2` gives `a` and `b * 2`; anything else is its own only term."""
    match node:
        case Binary("+", left, right):
            return (*additive_terms(left), *additive_terms(right))
        case Call("float", (inner,)):
            return additive_terms(inner)
        case _:
            return (node,)


def bounds(node: Node, triggers: Mapping[str, Bounds] | None = None, known: Known | None = None) -> Bounds:
    """Values an expression can take. Triggers without entry are taken as not negative.

    `known` narrows expressions by what an enclosing condition has established. Outside the
    numeric language the answer is "anything".
    """
    triggers = triggers or {}
    known = known or {}
    found = _bounds(node, triggers, known)
    narrowed = known.get(node)
    if narrowed is None:
        return found
    return Bounds(max(found.low, narrowed.low), min(found.high, narrowed.high))


def _bounds(node: Node, triggers: Mapping[str, Bounds], known: Known) -> Bounds:
    match node:
        case Literal(value, kind) if kind in {"int", "float"}:
            return Bounds(value, value)
        case Name(name):
            return triggers.get(name, NOT_NEGATIVE)
        case Unary("-", operand):
            inner = bounds(operand, triggers, known)
            return Bounds(-inner.high, -inner.low)
        case Unary("+", operand):
            return bounds(operand, triggers, known)
        case Binary(operator, left, right):
            return _of_operator(operator, bounds(left, triggers, known), bounds(right, triggers, known))
        case Conditional(condition, then, otherwise):
            first = bounds(then, triggers, _assume(condition, known, holds=True))
            second = bounds(otherwise, triggers, _assume(condition, known, holds=False))
            return Bounds(min(first.low, second.low), max(first.high, second.high))
        case Let(name, value, body):
            return bounds(body, {**triggers, name: bounds(value, triggers, known)}, known)
        case Call(function, arguments):
            return _of_function(function, [bounds(each, triggers, known) for each in arguments])
        case _:
            return _ANYTHING


def _of_operator(operator: str, left: Bounds, right: Bounds) -> Bounds:
    match operator:
        case "+":
            return Bounds(left.low + right.low, left.high + right.high)
        case "-":
            return Bounds(left.low - right.high, left.high - right.low)
        case "*":
            return _corners(left, right, lambda a, b: 0.0 if not a or not b else a * b)
        case "/" if not right.may_be_zero:
            return _corners(left, right, lambda a, b: 0.0 if math.isinf(b) else a / b)
        case "**" if left.low >= 0:
            return NOT_NEGATIVE
        case "??":
            return Bounds(min(left.low, right.low), max(left.high, right.high))
        case _:
            return _ANYTHING


def _corners(left: Bounds, right: Bounds, combine) -> Bounds:  # type: ignore[no-untyped-def]  # noqa: ANN001
    found = [combine(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
    return Bounds(min(found), max(found))


def _of_function(function: str, arguments: list[Bounds]) -> Bounds:
    if not arguments:
        return _ANYTHING
    first = arguments[0]
    match function:
        case "max":
            return Bounds(max(each.low for each in arguments), max(each.high for each in arguments))
        case "min":
            return Bounds(min(each.low for each in arguments), min(each.high for each in arguments))
        case "mean" | "median":
            return Bounds(min(each.low for each in arguments), max(each.high for each in arguments))
        case "abs":
            return Bounds(max(0.0, first.low, -first.high), max(abs(first.low), abs(first.high)))
        case "ceil" | "floor" | "round" | "int":
            # Rounding can bring a small value to zero, but not change its sign.
            rounded = {"ceil": math.ceil, "floor": math.floor}.get(function, math.trunc)
            return Bounds(*(each if math.isinf(each) else float(rounded(each)) for each in (first.low, first.high)))
        case "float":
            return first
        case _:
            return _ANYTHING


def _assume(condition: Node, known: Known, *, holds: bool) -> Known:
    """What is known of expressions where a condition holds (or does not)."""
    match condition:
        case Unary("not", inner):
            return _assume(inner, known, holds=not holds)
        case Binary("and", left, right) if holds:
            return _assume(right, _assume(left, known, holds=True), holds=True)
        case Binary("or", left, right) if not holds:
            return _assume(right, _assume(left, known, holds=False), holds=False)
        case Binary(operator, left, right) if operator in _MIRRORED:
            told = operator if holds else _NEGATED[operator]
            known = _compare(left, told, right, known)
            return _compare(right, _MIRRORED[told], left, known)
        case _:
            return known


def _compare(node: Node, operator: str, other: Node, known: Known) -> Known:
    limit = bounds(other, known=known)
    old = known.get(node, bounds(node, known=known))
    match operator:
        case ">":
            new = Bounds(max(old.low, limit.low + _SMALLEST), old.high)
        case ">=":
            new = Bounds(max(old.low, limit.low), old.high)
        case "<":
            new = Bounds(old.low, min(old.high, limit.high - _SMALLEST))
        case "<=":
            new = Bounds(old.low, min(old.high, limit.high))
        case "==":
            new = Bounds(max(old.low, limit.low), min(old.high, limit.high))
        case "!=" if limit.low == limit.high == old.low:
            new = Bounds(old.low + _SMALLEST, old.high)
        case _:
            return known
    return {**known, node: new}


def divisions_by_zero(
    node: Node, triggers: Mapping[str, Bounds] | None = None, known: Known | None = None
) -> Iterator[Binary]:
    """Divisions whose divisor can be zero where they are evaluated."""
    triggers = triggers or {}
    known = known or {}
    match node:
        case Binary("/" | "%", _, divisor):
            if bounds(divisor, triggers, known).may_be_zero:
                yield node
        case Conditional(condition, then, otherwise):
            yield from divisions_by_zero(condition, triggers, known)
            yield from divisions_by_zero(then, triggers, _assume(condition, known, holds=True))
            yield from divisions_by_zero(otherwise, triggers, _assume(condition, known, holds=False))
            return
        case Let(name, value, body):
            yield from divisions_by_zero(value, triggers, known)
            yield from divisions_by_zero(body, {**triggers, name: bounds(value, triggers, known)}, known)
            return
        case _:
            pass
    for each in children(node):
        yield from divisions_by_zero(each, triggers, known)
