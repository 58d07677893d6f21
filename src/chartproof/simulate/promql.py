"""PromQL over simulated series: instant queries as Prometheus evaluates them.

The part of the language that autoscaling queries use is compiled to closures; what is outside it is an
UnsupportedQueryError that names it, never a guess. Results are a number (a scalar) or a list of labels and
values (a vector).

Source: prometheus `promql/engine.go`, `promql/functions.go` (extrapolatedRate), `promql/quantile.go`.
"""

# ruff: noqa: PLR0911 - one case per kind of node or operator is the plainest form
from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import promql_parser as ast

from chartproof.languages.promql import Matcher, Query, Selector, of_expression, unwrap
from chartproof.simulate.series import LOOKBACK_SECONDS, Database, Series

Labels: TypeAlias = Mapping[str, str]
Vector: TypeAlias = list[tuple[Labels, float]]
Value: TypeAlias = float | Vector
Evaluate: TypeAlias = Callable[[float], Value]
_EvaluateVector: TypeAlias = Callable[[float], Vector]

_NO_LABELS: Labels = {}


def _divide(left: float, right: float) -> float:
    if right:
        return left / right
    return math.nan if not left or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)


def _power(left: float, right: float) -> float:
    try:
        return math.pow(left, right)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": lambda left, right: math.fmod(left, right) if right else math.nan,
    "^": _power,
}
_COMPARISON: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_ELEMENTWISE: Mapping[str, Callable[..., float]] = {
    "abs": abs,
    "ceil": lambda value: float(math.ceil(value)) if math.isfinite(value) else value,
    "floor": lambda value: float(math.floor(value)) if math.isfinite(value) else value,
    "round": lambda value, to=1.0: math.floor(value / to + 0.5) * to if math.isfinite(value) else value,
    "clamp_min": max,
    "clamp_max": min,
    "clamp": lambda value, low, high: min(max(value, low), high),
    "sqrt": lambda value: math.sqrt(value) if value >= 0 else math.nan,
}
_OVER_TIME: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max_over_time": max,
    "min_over_time": min,
    "avg_over_time": lambda values: math.fsum(values) / len(values),
    "sum_over_time": math.fsum,
    "count_over_time": lambda values: float(len(values)),
    "last_over_time": lambda values: values[-1],
    "present_over_time": lambda _: 1.0,
}
_AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "avg": lambda values: math.fsum(values) / len(values),
    "max": max,
    "min": min,
    "count": lambda values: float(len(values)),
    "group": lambda _: 1.0,
}
_SET_OPERATORS = frozenset({"and", "or", "unless"})


class UnsupportedQueryError(ValueError):
    """A query that uses what is not simulated; the message says what."""


class ManyToManyError(ValueError):
    """Two series of one side match: Prometheus refuses at run time."""


def compile_query(query: Query, database: Database) -> Evaluate:
    """A function of the time that gives the query's value. Raises UnsupportedQueryError."""
    return _Compiler(database).compile(query.expression)


def longest_range(query: Query) -> float:
    """Seconds that the query looks back by ranges and offsets, 0 without any."""
    return max(
        (
            each.range_seconds or (each.offset_seconds + LOOKBACK_SECONDS if each.offset else 0.0)
            for each in query.selectors
        ),
        default=0.0,
    )


class _Selection:
    """The series of a selector, kept until series come or go."""

    def __init__(self, database: Database, selector: Selector) -> None:
        self._database = database
        self._metric = selector.metric
        self._matchers: tuple[Matcher, ...] = selector.matchers
        self._generation = -1
        self._found: list[Series] = []

    def __call__(self) -> list[Series]:
        if self._generation != self._database.generation:
            self._found = self._database.select(self._metric, self._matchers)
            self._generation = self._database.generation
        return self._found


class _Compiler:
    def __init__(self, database: Database) -> None:
        self._database = database

    def compile(self, node: Any) -> Evaluate:
        node = unwrap(node)
        if isinstance(node, ast.NumberLiteral):
            number = float(node.val)
            return lambda _: number
        if isinstance(node, ast.VectorSelector):
            offset = of_expression(node).selectors[0].offset_seconds
            if offset > 0:
                earlier = self._selection(node, offset=True)
                return lambda now: [
                    (each.labels, value) for each in earlier() if (value := each.before(now, offset)) is not None
                ]
            selection = self._selection(node)
            return lambda now: [(each.labels, value) for each in selection() if (value := each.at(now)) is not None]
        if isinstance(node, ast.UnaryExpr):
            inner = self.compile(node.expr)
            return lambda now: _map(inner(now), operator.neg)
        if isinstance(node, ast.AggregateExpr):
            return self._aggregation(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.BinaryExpr):
            return self._binary(node)
        raise UnsupportedQueryError(f"{type(node).__name__} in {_text(node)}")

    def _selection(self, node: Any, *, offset: bool = False) -> _Selection:
        selector = of_expression(node).selectors[0]
        if selector.offset != offset or getattr(node, "at", None) is not None or node.matchers.or_matchers:
            raise UnsupportedQueryError(
                f"offset of a range or into the future, @ or `or` in the selector {_text(node)}"
            )
        if not selector.metric:
            raise UnsupportedQueryError(f"a selector without a metric name: {_text(node)}")
        return _Selection(self._database, selector)

    def _vector(self, node: Any) -> _EvaluateVector:
        inner = self.compile(node)

        def evaluate(now: float) -> Vector:
            found = inner(now)
            return found if isinstance(found, list) else [(_NO_LABELS, found)]

        return evaluate

    def _scalar(self, node: Any) -> Callable[[float], float]:
        inner = self.compile(node)

        def evaluate(now: float) -> float:
            found = inner(now)
            return found if isinstance(found, float) else math.nan

        return evaluate

    # --- Aggregations ---------------------------------------------------------------------------------------------

    def _aggregation(self, node: Any) -> Evaluate:
        name = str(node.op)
        if name not in _AGGREGATIONS or node.param is not None:
            raise UnsupportedQueryError(f"the aggregation {name} in {_text(node)}")
        reduce = _AGGREGATIONS[name]
        inner = self._vector(node.expr)
        if node.modifier is None:
            plain = unwrap(node.expr)
            if isinstance(plain, ast.VectorSelector) and plain.offset is None:
                return _of_selection(self._selection(plain), reduce)

            def total(now: float) -> Value:
                values = [value for _, value in inner(now)]
                return [(_NO_LABELS, _reduce(reduce, values))] if values else []

            return total
        keep = _keeper(list(node.modifier.labels), by=node.modifier.type == ast.AggModifierType.By)

        def grouped(now: float) -> Value:
            groups: dict[tuple[tuple[str, str], ...], tuple[Labels, list[float]]] = {}
            for labels, value in inner(now):
                kept = keep(labels)
                groups.setdefault(_key(kept), (kept, []))[1].append(value)
            return [(labels, _reduce(reduce, values)) for labels, values in groups.values()]

        return grouped

    # --- Functions ------------------------------------------------------------------------------------------------

    def _call(self, node: Any) -> Evaluate:
        name = node.func.name
        arguments = list(node.args)
        if name == "time":
            return lambda now: now
        if name == "vector":
            scalar = self._scalar(arguments[0])
            return lambda now: [(_NO_LABELS, scalar(now))]
        if name == "scalar":
            inner = self._vector(arguments[0])
            return lambda now: found[0][1] if len(found := inner(now)) == 1 else math.nan
        if name == "absent":
            inner = self._vector(arguments[0])
            return lambda now: [] if inner(now) else [(_NO_LABELS, 1.0)]
        if name == "histogram_quantile":
            quantile, inner = self._scalar(arguments[0]), self._vector(arguments[1])
            return lambda now: _histogram_quantile(quantile(now), inner(now))
        if name in {"rate", "increase", "delta", "irate"} or name in _OVER_TIME:
            return self._over_time(name, arguments[0])
        if name in _ELEMENTWISE:
            inner = self._vector(arguments[0])
            scalars = [self._scalar(each) for each in arguments[1:]]
            apply = _ELEMENTWISE[name]

            def elementwise(now: float) -> Value:
                further = [each(now) for each in scalars]
                return [(_unnamed(labels), float(apply(value, *further))) for labels, value in inner(now)]

            return elementwise
        raise UnsupportedQueryError(f"the function {name} in {_text(node)}")

    def _over_time(self, name: str, node: Any) -> Evaluate:
        node = unwrap(node)
        if not isinstance(node, ast.MatrixSelector):
            raise UnsupportedQueryError(f"a subquery in {_text(node)}")
        selection = self._selection(node.vector_selector)
        seconds = node.range.total_seconds()
        if name in _OVER_TIME:
            reduce = _OVER_TIME[name]

            def over_time(now: float) -> Value:
                found: Vector = []
                for each in selection():
                    _, values = each.window(now, seconds)
                    if values:
                        found.append((_unnamed(each.labels), float(reduce(values))))
                return found

            return over_time

        def rates(now: float) -> Value:
            found: Vector = []
            for each in selection():
                times, values = each.window(now, seconds)
                rate = _irate(times, values) if name == "irate" else _extrapolated(name, times, values, now, seconds)
                if rate is not None:
                    found.append((_unnamed(each.labels), rate))
            return found

        return rates

    # --- Operators ------------------------------------------------------------------------------------------------

    def _binary(self, node: Any) -> Evaluate:
        sign = str(node.op)
        left, right = self.compile(node.lhs), self.compile(node.rhs)
        modifier = node.modifier
        key = _matching(modifier.matching if modifier is not None else None)
        if sign in _SET_OPERATORS:
            left, right = self._vector(node.lhs), self._vector(node.rhs)
            return _set_operation(sign, left, right, key)
        if modifier is not None and modifier.card not in (None, ast.VectorMatchCardinality.OneToOne):
            raise UnsupportedQueryError(f"group_left or group_right in {_text(node)}")
        returns_bool = modifier is not None and bool(modifier.return_bool)
        if sign in _COMPARISON:
            compare = _COMPARISON[sign]
            return lambda now: _compare(compare, left(now), right(now), key, returns_bool=returns_bool)
        if sign in _ARITHMETIC:
            apply = _ARITHMETIC[sign]
            return lambda now: _arithmetic(apply, left(now), right(now), key)
        raise UnsupportedQueryError(f"the operator {sign} in {_text(node)}")


def _text(node: Any) -> str:
    return str(node.prettify()) if hasattr(node, "prettify") else repr(node)


def _of_selection(selection: _Selection, reduce: Callable[[Sequence[float]], float]) -> Evaluate:
    def evaluate(now: float) -> Value:
        values = [value for each in selection() if (value := each.at(now)) is not None]
        return [(_NO_LABELS, _reduce(reduce, values))] if values else []

    return evaluate


def _reduce(reduce: Callable[[Sequence[float]], float], values: Sequence[float]) -> float:
    try:
        return float(reduce(values))
    except (OverflowError, ValueError):
        return math.nan


def _map(value: Value, apply: Callable[[float], float]) -> Value:
    if isinstance(value, list):
        return [(_unnamed(labels), apply(each)) for labels, each in value]
    return apply(value)


def _unnamed(labels: Labels) -> Labels:
    return {key: value for key, value in labels.items() if key != "__name__"} if "__name__" in labels else labels


def _key(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items())) if labels else ()


def _keeper(names: list[str], *, by: bool) -> Callable[[Labels], Labels]:
    if by:
        return lambda labels: {name: labels[name] for name in names if name in labels}
    dropped = {*names, "__name__"}
    return lambda labels: {key: value for key, value in labels.items() if key not in dropped}


def _matching(matching: Any) -> Callable[[Labels], tuple[tuple[str, str], ...]]:
    if matching is None:
        return lambda labels: _key(_unnamed(labels))
    keep = _keeper(list(matching.labels), by=matching.type == ast.LabelModifierType.Include)
    return lambda labels: _key(keep(labels))


def _set_operation(
    sign: str, left: _EvaluateVector, right: _EvaluateVector, key: Callable[[Labels], tuple[tuple[str, str], ...]]
) -> Evaluate:
    def evaluate(now: float) -> Value:
        ours = left(now)
        if sign == "or" and not ours:
            return right(now)
        if sign != "or" and not ours:
            return []
        theirs = right(now)
        if sign == "or":
            have = {key(labels) for labels, _ in ours}
            return [*ours, *(each for each in theirs if key(each[0]) not in have)]
        have = {key(labels) for labels, _ in theirs}
        wanted = sign == "and"
        return [each for each in ours if (key(each[0]) in have) == wanted]

    return evaluate


def _pairs(
    left: Vector, right: Vector, key: Callable[[Labels], tuple[tuple[str, str], ...]]
) -> list[tuple[Labels, float, float]]:
    if len(left) == len(right) == 1 and not left[0][0] and not right[0][0]:
        # Two sums, which is what triggers are mostly made of.
        return [(left[0][0], left[0][1], right[0][1])]
    by_key: dict[tuple[tuple[str, str], ...], float] = {}
    for labels, value in right:
        found = key(labels)
        if found in by_key:
            raise ManyToManyError("found duplicate series for the match group on the right hand-side of the operation")
        by_key[found] = value
    pairs = []
    seen = set()
    for labels, value in left:
        found = key(labels)
        if found not in by_key:
            continue
        if found in seen:
            raise ManyToManyError("multiple matches for labels: many-to-one matching must be explicit")
        seen.add(found)
        pairs.append((labels, value, by_key[found]))
    return pairs


def _compare(
    compare: Callable[[float, float], bool],
    left: Value,
    right: Value,
    key: Callable[[Labels], tuple[tuple[str, str], ...]],
    *,
    returns_bool: bool,
) -> Value:
    if isinstance(left, float) and isinstance(right, float):
        return float(compare(left, right))
    if isinstance(left, list) and isinstance(right, list):
        triples = [(labels, one, compare(one, two)) for labels, one, two in _pairs(left, right, key)]
    elif isinstance(left, list):
        triples = [(labels, one, compare(one, right)) for labels, one in left]  # type: ignore[arg-type]
    else:
        triples = [(labels, two, compare(left, two)) for labels, two in right]  # type: ignore[union-attr]
    if returns_bool:
        return [(_unnamed(labels), float(holds)) for labels, _, holds in triples]
    return [(labels, value) for labels, value, holds in triples if holds]


def _arithmetic(
    apply: Callable[[float, float], float],
    left: Value,
    right: Value,
    key: Callable[[Labels], tuple[tuple[str, str], ...]],
) -> Value:
    if isinstance(left, list) and isinstance(right, list):
        return [(dict(key(labels)), apply(one, two)) for labels, one, two in _pairs(left, right, key)]
    if isinstance(left, list):
        number = right if isinstance(right, float) else math.nan
        return [(_unnamed(labels), apply(one, number)) for labels, one in left]
    if isinstance(right, list):
        return [(_unnamed(labels), apply(left, two)) for labels, two in right]
    return apply(left, right)


def _irate(times: Sequence[float], values: Sequence[float]) -> float | None:
    if len(times) < 2:  # noqa: PLR2004 - a difference needs two
        return None
    change = values[-1] - values[-2]
    return (values[-1] if change < 0 else change) / (times[-1] - times[-2])


def _extrapolated(
    name: str, times: Sequence[float], values: Sequence[float], now: float, seconds: float
) -> float | None:
    """Prometheus' extrapolatedRate: the change between first and last sample, stretched towards the window."""
    if len(times) < 2:  # noqa: PLR2004 - a difference needs two
        return None
    counter = name != "delta"
    change = values[-1] - values[0]
    if counter:
        previous = values[0]
        for value in values:
            if value < previous:
                change += previous
            previous = value
    sampled = times[-1] - times[0]
    average = sampled / (len(times) - 1)
    threshold = average * 1.1
    to_start = times[0] - (now - seconds)
    to_end = now - times[-1]
    to_start = to_start if to_start < threshold else average / 2
    if counter and change > 0 and values[0] >= 0:
        # A counter cannot have been below zero.
        to_start = min(to_start, sampled * (values[0] / change))
    to_end = to_end if to_end < threshold else average / 2
    result = change * (sampled + to_start + to_end) / sampled
    return result / seconds if name == "rate" else result


def _histogram_quantile(quantile: float, vector: Vector) -> Vector:
    groups: dict[tuple[tuple[str, str], ...], tuple[Labels, list[tuple[float, float]]]] = {}
    for labels, value in vector:
        try:
            bound = float(labels.get("le", ""))
        except ValueError:
            continue
        kept = {key: each for key, each in labels.items() if key not in {"le", "__name__"}}
        groups.setdefault(_key(kept), (kept, []))[1].append((bound, value))
    return [(labels, _bucket_quantile(quantile, sorted(buckets))) for labels, buckets in groups.values()]


def _bucket_quantile(quantile: float, buckets: list[tuple[float, float]]) -> float:
    if math.isnan(quantile) or len(buckets) < 2 or not math.isinf(buckets[-1][0]):  # noqa: PLR2004 - +Inf and one more
        return math.nan
    if quantile < 0:
        return -math.inf
    if quantile > 1:
        return math.inf
    total = buckets[-1][1]
    if not total or math.isnan(total):
        return math.nan
    rank = quantile * total
    index = next((i for i, (_, cumulated) in enumerate(buckets[:-1]) if cumulated >= rank), len(buckets) - 1)
    if index == len(buckets) - 1:
        return buckets[-2][0]
    high, cumulated = buckets[index]
    if index == 0 and high <= 0:
        return high
    low, before = buckets[index - 1] if index else (0.0, 0.0)
    inside = cumulated - before
    return low + (high - low) * ((rank - before) / inside) if inside else low
