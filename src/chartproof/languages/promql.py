"""PromQL: what a query reads, and what its result can look like.

Parsing is promql-parser's, which follows Prometheus. On top: every selector with what encloses it,
how many series a result can have, and the range its values can take.
"""

# ruff: noqa: C901, PLR0911 - one case per kind of node is the plainest form
from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import promql_parser as ast

#: Longest query that is read; the longest in public dashboards are a tenth of it.
LONGEST_QUERY = 50_000

#: Functions that turn a counter into how much it grew.
RATE_FUNCTIONS = frozenset({"rate", "irate", "increase", "delta", "idelta", "deriv", "changes", "resets"})
#: Functions that ask whether a series is there, not how large it is.
PRESENCE_FUNCTIONS = frozenset({"absent", "absent_over_time", "present_over_time", "count_over_time", "timestamp"})
PRESENCE_AGGREGATIONS = frozenset({"count", "group", "count_values"})
_COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
_SET_OPERATORS = frozenset({"and", "or", "unless"})
_SCALAR_FUNCTIONS = frozenset({"time", "scalar", "pi", "step"})
_UNLABELLED_FUNCTIONS = frozenset({"vector", "absent", "absent_over_time"})
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_:/ @=,-]*(\\\\?\.[A-Za-z0-9_:/ @=,-]*)*")
_GRAFANA_DURATION = re.compile(
    r"\$\{?(__rate_interval|__interval|__range|__auto|interval|resolution|rate_interval|step|window)(:[a-z]+)?\}?"
)
_GRAFANA_VARIABLE = re.compile(r"\$\{[A-Za-z0-9_.:]+\}|\[\[[A-Za-z0-9_:]+\]\]|\$[A-Za-z_][A-Za-z0-9_]*")
_GRAFANA_IN_BRACKETS = re.compile(r"(\[|offset\s+|:)\s*(\$\{[A-Za-z0-9_.:]+\}|\[\[[A-Za-z0-9_:]+\]\]|\$[A-Za-z_]\w*)")


class PromqlError(ValueError):
    """A query that Prometheus refuses; the message is the parser's reason."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """A label matcher; `operator` is one of `=`, `!=`, `=~`, `!~`."""

    label: str
    operator: str
    value: str

    @property
    def fixed(self) -> bool:
        """Whether it lets exactly one value through."""
        return self.operator == "=" or (
            self.operator == "=~"
            and bool(self.value)
            and _PLAIN_VALUE.fullmatch(self.value) is not None
            and "." not in self.value.replace("\\\\.", "").replace("\\.", "")
        )

    @property
    def limits(self) -> bool:
        """Whether it chooses some series by value rather than by the label's presence."""
        return (self.operator == "=" and bool(self.value)) or (
            self.operator == "=~" and self.value not in {"", ".*", ".+", "^.*$", "^.+$"}
        )

    def accepts(self, value: str) -> bool:
        """Whether a series with this value of the label passes."""
        if self.operator in {"=", "!="}:
            return (value == self.value) == (self.operator == "=")
        try:
            matched = re.fullmatch(self.value, value) is not None
        except re.error:
            return True
        return matched == (self.operator == "=~")

    def __str__(self) -> str:
        """As written in a query."""
        return f'{self.label}{self.operator}"{self.value}"'


@dataclass(frozen=True, slots=True)
class Selector:
    """One vector selector of a query.

    `range_seconds` is set for `metric[5m]`, `offset_seconds` says how far back `offset` looks (negative: ahead).
    `enclosing` names functions, aggregations and binary
    operators around it, innermost first.
    """

    metric: str
    matchers: tuple[Matcher, ...]
    range_seconds: float | None
    offset: bool
    enclosing: tuple[str, ...]
    offset_seconds: float = 0.0

    def matcher(self, label: str) -> Matcher | None:
        """The first matcher of a label."""
        return next((each for each in self.matchers if each.label == label), None)

    @property
    def is_rated(self) -> bool:
        """Whether a rate, increase or the like is taken of it."""
        return bool(RATE_FUNCTIONS.intersection(self.enclosing))

    @property
    def asks_presence(self) -> bool:
        """Whether only its presence matters, not its value."""
        return bool((PRESENCE_FUNCTIONS | PRESENCE_AGGREGATIONS).intersection(self.enclosing))


@dataclass(frozen=True, slots=True)
class Shape:
    """How many series a result can have.

    `varying` are the labels by which its series can differ (None: any), `pinned` labels that have
    one fixed value, `labels` the labels the series carry (None: unknown). A scalar has no series.
    """

    kind: str = "vector"
    varying: frozenset[str] | None = None
    pinned: frozenset[str] = frozenset()
    labels: frozenset[str] | None = None

    @property
    def single(self) -> bool:
        """Whether the result is a scalar or has at most one series."""
        return self.kind == "scalar" or (self.varying is not None and not self.varying)


_ONE_UNLABELLED = Shape(varying=frozenset(), labels=frozenset())
_SCALAR = Shape(kind="scalar", varying=frozenset(), labels=frozenset())


@dataclass(frozen=True, slots=True)
class Range:
    """A closed interval of values."""

    low: float = -math.inf
    high: float = math.inf

    def scaled(self, function: Callable[[float], float]) -> Range:
        """The interval after a monotone function."""
        ends = (function(self.low), function(self.high))
        return Range(min(ends), max(ends))


#: Range of a selector by its metric; None where nothing is known.
RangeOf = Callable[[str], Range | None]


@dataclass(frozen=True)
class Query:
    """A parsed query."""

    text: str
    expression: Any = field(repr=False)

    @cached_property
    def selectors(self) -> tuple[Selector, ...]:
        """Every selector, in written order."""
        return tuple(_selectors(self.expression, ()))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics it reads (empty names left out)."""
        return tuple(dict.fromkeys(each.metric for each in self.selectors if each.metric))

    @cached_property
    def shape(self) -> Shape:
        """How many series the result can have."""
        return _shape(self.expression)

    @cached_property
    def never_empty(self) -> bool:
        """Whether the result has a value even when no series exists at all, as with `or vector(0)`."""
        return _never_empty(self.expression)

    @cached_property
    def outer_aggregation(self) -> str:
        """The aggregation (or `histogram_quantile`) that makes the result, through arithmetic by constants."""
        return _outer_aggregation(self.expression)

    def range(self, range_of: RangeOf, *, per_replica: bool = False) -> Range:
        """Values the result can take. `per_replica`: a sum is later divided by the replicas it sums over."""
        return _range(self.expression, range_of, per_replica=per_replica)

    def calls(self, *names: str) -> Iterator[Any]:
        """The calls of functions of these names."""
        for node in walk(self.expression):
            if isinstance(node, ast.Call) and node.func.name in names:
                yield node

    def aggregations(self, *operators: str) -> Iterator[Any]:
        """The aggregations with these operators (all, if none is named)."""
        for node in walk(self.expression):
            if isinstance(node, ast.AggregateExpr) and (not operators or str(node.op) in operators):
                yield node

    def comparisons(self) -> Iterator[tuple[Any, str, float]]:
        """Comparisons of a vector with a number: the vector's expression, the operator, the number."""
        for node in walk(self.expression):
            if not isinstance(node, ast.BinaryExpr) or str(node.op) not in _COMPARISONS:
                continue
            right, left = constant(node.rhs), constant(node.lhs)
            if right is not None and left is None:
                yield node.lhs, str(node.op), right
            elif left is not None and right is None:
                mirrored = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
                yield node.rhs, mirrored.get(str(node.op), str(node.op)), left

    def grouping_labels(self) -> Iterator[str]:
        """Labels named in by(...), on(...) and group_left(...)."""
        for node in walk(self.expression):
            if isinstance(node, ast.AggregateExpr) and node.modifier and node.modifier.type == ast.AggModifierType.By:
                yield from node.modifier.labels
            elif isinstance(node, ast.BinaryExpr) and node.modifier:
                matching = node.modifier.matching
                if matching is not None and matching.type == ast.LabelModifierType.Include:
                    yield from matching.labels


@lru_cache(maxsize=4096)
def parse(text: str) -> Query:
    """Parse a query as Prometheus does. Raises PromqlError."""
    if len(text) > LONGEST_QUERY:
        raise PromqlError(f"longer than {LONGEST_QUERY} characters")
    try:
        return Query(text, ast.parse(text))
    except ValueError as error:
        raise PromqlError(str(error)) from None


def without_grafana_variables(text: str) -> str:
    """A dashboard's query with its variables replaced by something of the right kind."""
    text = _GRAFANA_DURATION.sub("5m", text)
    text = _GRAFANA_IN_BRACKETS.sub(r"\g<1>5m", text)
    return _GRAFANA_VARIABLE.sub("grafana_variable", text)


def of_expression(expression: Any) -> Query:
    """A query of part of a parsed expression."""
    return Query(expression.prettify(), expression)


def unwrap(node: Any) -> Any:
    """Without parentheses."""
    while isinstance(node, ast.ParenExpr):
        node = node.expr
    return node


def constant(node: Any) -> float | None:
    """Value of an expression that only numbers make up, else None."""
    node = unwrap(node)
    if isinstance(node, ast.NumberLiteral):
        return float(node.val)
    if isinstance(node, ast.UnaryExpr):
        inner = constant(node.expr)
        return None if inner is None else -inner
    if isinstance(node, ast.BinaryExpr) and str(node.op) in "+-*/":
        left, right = constant(node.lhs), constant(node.rhs)
        if left is None or right is None or (str(node.op) == "/" and not right):
            return None
        return {"+": left + right, "-": left - right, "*": left * right, "/": left / right if right else 0.0}[
            str(node.op)
        ]
    return None


def children(node: Any) -> tuple[Any, ...]:
    """Parts of a node, in written order."""
    if isinstance(node, ast.BinaryExpr):
        return (node.lhs, node.rhs)
    if isinstance(node, ast.AggregateExpr):
        return (node.param, node.expr) if node.param is not None else (node.expr,)
    if isinstance(node, ast.Call):
        return tuple(node.args)
    if isinstance(node, ast.ParenExpr | ast.UnaryExpr | ast.SubqueryExpr):
        return (node.expr,)
    if isinstance(node, ast.MatrixSelector):
        return (node.vector_selector,)
    return ()


def walk(node: Any) -> Iterator[Any]:
    """A node and everything below it."""
    yield node
    for each in children(node):
        yield from walk(each)


_OPERATORS = (
    (ast.MatchOp.Equal, "="),
    (ast.MatchOp.NotEqual, "!="),
    (ast.MatchOp.Re, "=~"),
    (ast.MatchOp.NotRe, "!~"),
)


def _operator(operator: Any) -> str:
    return next(text for known, text in _OPERATORS if known == operator)


def _matchers(node: Any) -> tuple[str, tuple[Matcher, ...]]:
    metric = node.name or ""
    found = []
    for each in node.matchers.matchers:
        matcher = Matcher(each.name, _operator(each.op), each.value)
        if matcher.label == "__name__":
            metric = matcher.value if matcher.fixed else metric
        else:
            found.append(matcher)
    return metric, tuple(found)


def _selectors(node: Any, enclosing: tuple[str, ...], range_seconds: float | None = None) -> Iterator[Selector]:
    if isinstance(node, ast.VectorSelector):
        metric, matchers = _matchers(node)
        back = node.offset.total_seconds() if node.offset is not None else 0.0
        yield Selector(metric, matchers, range_seconds, node.offset is not None, enclosing, back)
        return
    if isinstance(node, ast.MatrixSelector):
        yield from _selectors(node.vector_selector, enclosing, node.range.total_seconds())
        return
    name = ""
    if isinstance(node, ast.Call):
        name = node.func.name
    elif isinstance(node, ast.AggregateExpr | ast.BinaryExpr):
        name = str(node.op)
    for each in children(node):
        yield from _selectors(each, (name, *enclosing) if name else enclosing)


def _shape(node: Any) -> Shape:
    node = unwrap(node)
    if isinstance(node, ast.NumberLiteral | ast.StringLiteral):
        return _SCALAR
    if isinstance(node, ast.VectorSelector):
        return _shape_of_selector(node)
    if isinstance(node, ast.MatrixSelector):
        return _shape_of_selector(node.vector_selector)
    if isinstance(node, ast.UnaryExpr | ast.SubqueryExpr):
        return _shape(node.expr)
    if isinstance(node, ast.AggregateExpr):
        return _shape_of_aggregation(node)
    if isinstance(node, ast.Call):
        return _shape_of_call(node)
    if isinstance(node, ast.BinaryExpr):
        return _shape_of_binary(node)
    return Shape()


#: kube-state-metrics has one series per object for these, so object and namespace pin it.
_STATE_METRIC = re.compile(
    r"kube_(deployment|statefulset|replicaset|daemonset|horizontalpodautoscaler)_(spec|status)_.*"
)


def _shape_of_selector(node: Any) -> Shape:
    metric, matchers = _matchers(node)
    if node.matchers.or_matchers:
        return Shape()
    pinned = frozenset(each.label for each in matchers if each.fixed)
    if metric.count(":") > 1:
        # level:metric:operation, a recording rule: the operation has aggregated it.
        return Shape(varying=frozenset(), pinned=pinned)
    state = _STATE_METRIC.fullmatch(metric)
    if state and {state[1], "namespace"} <= pinned and not metric.endswith("_condition"):
        return Shape(varying=frozenset(), pinned=pinned)
    return Shape(pinned=pinned)


def _shape_of_aggregation(node: Any) -> Shape:
    inner = _shape(node.expr)
    operator = str(node.op)
    modifier = node.modifier
    if modifier is not None and modifier.type == ast.AggModifierType.Without:
        dropped = frozenset(modifier.labels)
        varying = None if inner.varying is None else inner.varying - dropped
        return Shape(varying=varying, pinned=inner.pinned - dropped, labels=None)
    by = frozenset(modifier.labels) if modifier is not None else frozenset()
    if operator in {"topk", "bottomk", "limitk", "limit_ratio"}:
        if operator != "limit_ratio" and constant(node.param) == 1 and not by:
            return Shape(varying=frozenset(), pinned=inner.pinned, labels=inner.labels)
        return inner
    varying = by - inner.pinned
    if inner.varying is not None:
        varying &= inner.varying
    if operator == "count_values":
        return Shape(varying=varying | {"count_values"}, pinned=inner.pinned & by, labels=None)
    return Shape(varying=varying, pinned=inner.pinned & by, labels=by)


def _shape_of_call(node: Any) -> Shape:
    name = node.func.name
    if name in _SCALAR_FUNCTIONS:
        return _SCALAR
    if name == "vector" or not node.args:
        return _ONE_UNLABELLED
    if name in _UNLABELLED_FUNCTIONS:
        return Shape(varying=frozenset(), labels=None)
    vectors = [each for each in node.args if _shape(each).kind != "scalar"]
    inner = _shape(vectors[0]) if vectors else _ONE_UNLABELLED
    if name.startswith("histogram_quantile") and inner.varying is not None:
        labels = inner.labels - {"le"} if inner.labels is not None else None
        return Shape(varying=inner.varying - {"le"}, pinned=inner.pinned, labels=labels)
    if name in {"label_replace", "label_join"}:
        return Shape(varying=inner.varying, pinned=inner.pinned, labels=None)
    return inner


def _shape_of_binary(node: Any) -> Shape:
    left, right = _shape(node.lhs), _shape(node.rhs)
    operator = str(node.op)
    matching = node.modifier.matching if node.modifier else None
    on: frozenset[str] | None = None
    ignoring: frozenset[str] = frozenset()
    if matching is not None and matching.type == ast.LabelModifierType.Include:
        on = frozenset(matching.labels)
    elif matching is not None:
        ignoring = frozenset(matching.labels)
    if operator == "or":
        if left.single and right.single:
            same = left.labels is not None and left.labels == right.labels and left.labels <= left.pinned & right.pinned
            covered = on is not None and not on
            if same or covered or (left.labels == right.labels == frozenset()):
                return left
        return Shape(pinned=left.pinned & right.pinned)
    if operator in {"and", "unless"}:
        return left
    if left.kind == "scalar" or right.kind == "scalar":
        return right if left.kind == "scalar" else left
    card = node.modifier.card if node.modifier else ast.VectorMatchCardinality.OneToOne
    if card == ast.VectorMatchCardinality.ManyToOne:
        return left
    if card == ast.VectorMatchCardinality.OneToMany:
        return right
    varying = left.varying
    if right.varying is not None:
        varying = right.varying if varying is None else varying & right.varying
    pinned = left.pinned | right.pinned
    if on is not None:
        varying = on - pinned if varying is None else on & varying
        return Shape(varying=varying, pinned=pinned & on, labels=on)
    if varying is not None:
        varying -= ignoring
    return Shape(varying=varying, pinned=pinned, labels=left.labels)


def _never_empty(node: Any) -> bool:
    node = unwrap(node)
    if isinstance(node, ast.NumberLiteral):
        return True
    if isinstance(node, ast.UnaryExpr):
        return _never_empty(node.expr)
    if isinstance(node, ast.Call):
        if node.func.name in {"vector", "time", "scalar", "pi"}:
            return True
        return node.func.name in {"clamp", "clamp_min", "clamp_max", "abs", "ceil", "floor", "round"} and _never_empty(
            node.args[0]
        )
    if isinstance(node, ast.AggregateExpr):
        return _never_empty(node.expr)
    if isinstance(node, ast.BinaryExpr):
        operator = str(node.op)
        if operator == "or":
            return _never_empty(node.lhs) or _never_empty(node.rhs)
        filters = operator in _COMPARISONS and not (node.modifier and node.modifier.return_bool)
        return not filters and operator not in _SET_OPERATORS and _never_empty(node.lhs) and _never_empty(node.rhs)
    return False


def _outer_aggregation(node: Any) -> str:
    node = unwrap(node)
    if isinstance(node, ast.AggregateExpr):
        return str(node.op)
    if isinstance(node, ast.UnaryExpr):
        return _outer_aggregation(node.expr)
    if isinstance(node, ast.BinaryExpr):
        if str(node.op) in {"or", "and", "unless"} or constant(node.rhs) is not None:
            return _outer_aggregation(node.lhs)
        if constant(node.lhs) is not None:
            return _outer_aggregation(node.rhs)
        return ""
    if isinstance(node, ast.Call):
        if node.func.name == "histogram_quantile":
            return "histogram_quantile"
        vectors = [each for each in node.args if _shape(each).kind != "scalar"]
        return _outer_aggregation(vectors[0]) if vectors else ""
    if isinstance(node, ast.SubqueryExpr):
        return _outer_aggregation(node.expr)
    return ""


_KEEPS_VALUES = frozenset(
    {"avg_over_time", "max_over_time", "min_over_time", "last_over_time", "quantile_over_time", "sort", "sort_desc"}
    | {"label_replace", "label_join", "first_over_time"}
)


def _range(node: Any, range_of: RangeOf, *, per_replica: bool) -> Range:
    node = unwrap(node)
    value = constant(node)
    if value is not None:
        return Range(value, value)
    if isinstance(node, ast.VectorSelector):
        return range_of(_matchers(node)[0]) or Range()
    if isinstance(node, ast.MatrixSelector):
        return _range(node.vector_selector, range_of, per_replica=per_replica)
    if isinstance(node, ast.SubqueryExpr):
        return _range(node.expr, range_of, per_replica=per_replica)
    if isinstance(node, ast.AggregateExpr):
        inner = _range(node.expr, range_of, per_replica=per_replica)
        operator = str(node.op)
        if operator in {"avg", "max", "min", "quantile", "topk", "bottomk"} or (operator == "sum" and per_replica):
            return inner
        if operator == "count":
            return Range(1, math.inf)
        if operator == "sum" and inner.low >= 0:
            return Range(0, math.inf)
        return Range()
    if isinstance(node, ast.Call):
        return _range_of_call(node, range_of, per_replica=per_replica)
    if isinstance(node, ast.BinaryExpr):
        return _range_of_binary(node, range_of, per_replica=per_replica)
    return Range()


def _range_of_call(node: Any, range_of: RangeOf, *, per_replica: bool) -> Range:
    name = node.func.name
    if name in _KEEPS_VALUES:
        vectors = [each for each in node.args if _shape(each).kind != "scalar"]
        return _range(vectors[0], range_of, per_replica=per_replica) if vectors else Range()
    if name == "vector":
        return _range(node.args[0], range_of, per_replica=per_replica)
    if name in {"clamp_min", "clamp_max"} and (limit := constant(node.args[1])) is not None:
        inner = _range(node.args[0], range_of, per_replica=per_replica)
        if name == "clamp_min":
            return Range(max(inner.low, limit), max(inner.high, limit))
        return Range(min(inner.low, limit), min(inner.high, limit))
    if name == "histogram_quantile":
        found = [each.metric for each in of_expression(node).selectors if each.metric.endswith("_bucket")]
        return (range_of(found[0].removesuffix("_bucket")) if found else None) or Range()
    if name in {"rate", "irate", "increase"}:
        return Range(0, math.inf)
    return Range()


def _range_of_binary(node: Any, range_of: RangeOf, *, per_replica: bool) -> Range:
    operator = str(node.op)
    left = _range(node.lhs, range_of, per_replica=per_replica)
    right = _range(node.rhs, range_of, per_replica=per_replica)
    if operator in _COMPARISONS:
        return Range(0, 1) if node.modifier and node.modifier.return_bool else left
    if operator in {"and", "unless"}:
        return left
    if operator == "or":
        return Range(min(left.low, right.low), max(left.high, right.high))
    factor = constant(node.rhs)
    if factor is not None:
        operations: dict[str, Callable[[float], float]] = {
            "*": lambda x: x * factor if x and factor else 0.0,
            "/": lambda x: x / factor if factor else math.inf,
            "+": lambda x: x + factor,
            "-": lambda x: x - factor,
        }
        return left.scaled(operations[operator]) if operator in operations else Range()
    factor_left = constant(node.lhs)
    if factor_left is not None and operator == "*":
        return right.scaled(lambda x: x * factor_left if x and factor_left else 0.0)
    if left.low >= 0 and right.low >= 0 and operator in {"+", "*", "/"}:
        return Range(0, math.inf)
    return Range()
