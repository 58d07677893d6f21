"""The value of a formula, computed as expr-lang's machine does: Go's numbers, Go's panics."""

# ruff: noqa: C901, PLR0911, PLR0912 - one case per kind of node or operator is the plainest form
from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from chartproof.languages.formula.lexer import FormulaError, UnjudgedError
from chartproof.languages.formula.syntax import (
    PREDICATE_FUNCTIONS,
    Array,
    Binary,
    Call,
    Conditional,
    Let,
    Literal,
    Map,
    Member,
    Name,
    Node,
    Pointer,
    Predicate,
    Sequence,
    Slice,
    Unary,
)

Value = Any
#: What amd64 makes of NaN, infinities and overflow when it converts float64 to int64.
INTEGER_INDEFINITE = -(2**63)
_INTEGER_LIMIT = 2**63
#: expr-lang's machine refuses to build larger arrays.
_LARGEST_RANGE = 1_000_000


def go_integer(number: float) -> int:
    """Go's `int64(number)` on amd64: truncation; NaN, infinities and overflow become -2**63."""
    if math.isnan(number) or math.isinf(number) or not -_INTEGER_LIMIT <= number < _INTEGER_LIMIT:
        return INTEGER_INDEFINITE
    return int(number)


def divide(left: float, right: float) -> float:
    """IEEE division: x/0 is an infinity, 0/0 is NaN."""
    if right:
        return float(left) / float(right)
    if not left or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, float(right))


class Runner:
    """Runs one checked formula on the values of its triggers."""

    def __init__(
        self,
        triggers: Mapping[str, float | None],
        types: Mapping[int, str],
        now: Callable[[], datetime],
        *,
        missing: float | None = None,
    ) -> None:
        self._triggers = triggers
        self._types = types
        self._now = now
        self._missing = missing
        self._variables: list[tuple[str, Value]] = []
        self._scopes: list[dict[str, Value]] = []

    def run(self, node: Node) -> Value:
        """Value of a node. Raises FormulaError where the machine would panic."""
        match node:
            case Literal(value):
                return value
            case Name(name):
                return self._name(name)
            case Unary(sign, operand):
                return self._unary(sign, self.run(operand))
            case Binary():
                return self._binary(node)
            case Conditional(condition, then, otherwise):
                return self.run(then if _truth(self.run(condition)) else otherwise)
            case Let(name, value, body):
                self._variables.append((name, self.run(value)))
                result = self.run(body)
                self._variables.pop()
                return result
            case Sequence(nodes):
                return [self.run(each) for each in nodes][-1]
            case Array(items):
                return [self.run(each) for each in items]
            case Map(pairs):
                return {self.run(key): self.run(value) for key, value in pairs}
            case Call(function, arguments):
                if function in PREDICATE_FUNCTIONS:
                    return self._over(function, arguments)
                return self._call(function, [self.run(each) for each in arguments])
            case Pointer(name):
                return self._scopes[-1][name or "#"]
            case Member():
                return self._member(node)
            case Slice(base, start, stop):
                return self._slice(self.run(base), start, stop)
            case _:
                raise UnjudgedError(type(node).__name__)

    def _name(self, name: str) -> Value:
        for known, value in reversed(self._variables):
            if known == name:
                return value
        return dict(self._triggers) if name == "$env" else self._triggers.get(name)

    def _unary(self, sign: str, operand: Value) -> Value:
        if sign == "not":
            return not _truth(operand)
        number = _number(operand, sign)
        return -number if sign == "-" else number

    def _binary(self, node: Binary) -> Value:
        sign = node.operator
        left = self.run(node.left)
        if sign == "??":
            return self.run(node.right) if left is None else left
        if sign in {"and", "or"}:
            return left if _truth(left) == (sign == "or") else _truth(self.run(node.right))
        right = self.run(node.right)
        if sign in {"==", "!="}:
            kinds = {self._types.get(id(node.left)), self._types.get(id(node.right))}
            if kinds == {"int"} and not (_is_integer(left) and _is_integer(right)):
                # The compiler chose the comparison of integers by type; max(0, x) is typed int and may be float.
                raise _panic("interface conversion: interface {} is float64, not int")
            return _equal(left, right) == (sign == "==")
        if sign == "in":
            return any(_equal(each, left) for each in right) if isinstance(right, list) else left in (right or {})
        if sign in {"contains", "startsWith", "endsWith"}:
            return {"contains": right in left, "startsWith": left.startswith(right), "endsWith": left.endswith(right)}[
                sign
            ]
        if sign == "matches":
            raise UnjudgedError("matches")
        if sign == "..":
            return self._range(left, right)
        return _arithmetic(sign, left, right)

    def _range(self, left: Value, right: Value) -> Value:
        start, stop = (go_integer(float(_number(each, ".."))) for each in (left, right))
        if stop - start > _LARGEST_RANGE:
            raise _panic("memory budget exceeded")
        return list(range(start, stop + 1))

    def _member(self, node: Member) -> Value:
        base = self.run(node.base)
        if isinstance(base, datetime) and node.arguments is not None and isinstance(node.property, Literal):
            return _time_method(base, str(node.property.value))
        prop = self.run(node.property)
        if isinstance(base, dict):
            return base.get(prop, self._missing)
        if isinstance(base, list) and _is_integer(prop):
            if -len(base) <= prop < len(base):
                return base[prop]
            raise _panic("index out of range")
        if base is None and node.optional:
            return None
        raise _panic(f"cannot fetch {prop} from {_type(base)}")

    def _slice(self, base: Value, start: Node | None, stop: Node | None) -> Value:
        if not isinstance(base, list | str):
            raise _panic(f"cannot slice {base}")
        return base[self.run(start) if start else None : self.run(stop) if stop else None]

    def _over(self, function: str, arguments: tuple[Node, ...]) -> Value:
        collection = self.run(arguments[0])
        if not isinstance(collection, list):
            raise _panic(f"invalid argument for {function} (type {_type(collection)})")
        body = arguments[1].body if len(arguments) > 1 and isinstance(arguments[1], Predicate) else None
        if function in {"groupBy", "sortBy"} or (function == "reduce" and body is None):
            raise UnjudgedError(function)
        if function == "reduce" and body is not None:
            return self._reduce(collection, body, arguments[2:])
        results = (
            [self._inside(body, {"#": each, "index": i}) for i, each in enumerate(collection)] if body else collection
        )
        match function:
            case "all":
                return all(_truth(each) for each in results)
            case "any":
                return any(_truth(each) for each in results)
            case "none":
                return not any(_truth(each) for each in results)
            case "one":
                return sum(_truth(each) for each in results) == 1
            case "count":
                return sum(_truth(each) for each in results)
            case "sum":
                total: Value = 0
                for each in results:
                    total = _arithmetic("+", each, total)
                return total
            case "map":
                return results
            case "filter":
                return [each for each, chosen in zip(collection, results, strict=True) if _truth(chosen)]
            case _:
                return self._find(function, collection, [_truth(each) for each in results])

    def _reduce(self, collection: list[Value], body: Node, initial: tuple[Node, ...]) -> Value:
        rest = list(enumerate(collection))
        if initial:
            total = self.run(initial[0])
        elif rest:
            total = rest.pop(0)[1]
        else:
            raise _panic("reduce of empty array with no initial value")
        for i, each in rest:
            total = self._inside(body, {"#": each, "index": i, "acc": total})
        return total

    def _find(self, function: str, collection: list[Value], chosen: list[bool]) -> Value:
        order = range(len(chosen)) if "Last" not in function else reversed(range(len(chosen)))
        for i in order:
            if chosen[i]:
                return i if function.endswith("Index") else collection[i]
        return None

    def _inside(self, body: Node, scope: dict[str, Value]) -> Value:
        self._scopes.append(scope)
        value = self.run(body)
        self._scopes.pop()
        return value

    def _call(self, function: str, arguments: list[Value]) -> Value:
        if function in {"max", "min", "mean", "median"}:
            return _aggregate(function, arguments)
        if function == "now":
            return self._now()
        single: dict[str, Callable[[Value], Value]] = {
            "abs": lambda x: abs(_number(x, function)),
            "ceil": lambda x: _rounded(x, math.ceil),
            "floor": lambda x: _rounded(x, math.floor),
            "round": lambda x: _rounded(x, lambda y: math.copysign(math.floor(abs(y) + 0.5), y)),
            "int": _to_integer,
            "float": _to_float,
            "len": len,
            "first": lambda x: x[0] if x else None,
            "last": lambda x: x[-1] if x else None,
        }
        if function not in single or len(arguments) != 1:
            raise UnjudgedError(function)
        if function in {"len", "first", "last"} and not isinstance(arguments[0], list | str):
            raise _panic(f"invalid argument for {function} (type {_type(arguments[0])})")
        return single[function](arguments[0])


def _panic(message: str) -> FormulaError:
    return FormulaError(message, stage="run")


def _is_integer(value: Value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _type(value: Value) -> str:
    names = {bool: "bool", int: "int", float: "float64", str: "string", list: "[]interface {}", type(None): "<nil>"}
    return names.get(type(value), type(value).__name__)


def _number(value: Value, where: str) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _panic(f"invalid operation: {where} {_type(value)}")
    return value


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise _panic(f"interface conversion: interface {{}} is {_type(value)}, not bool")
    return value


def _equal(left: Value, right: Value) -> bool:
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


def _arithmetic(sign: str, left: Value, right: Value) -> Value:
    if isinstance(left, str) and isinstance(right, str) and sign in {"+", *_COMPARE}:
        return left + right if sign == "+" else _COMPARE[sign](left, right)
    for each in (left, right):
        if isinstance(each, bool) or not isinstance(each, int | float):
            raise _panic(f"invalid operation: {_type(left)} {sign} {_type(right)}")
    if sign in _COMPARE:
        return _COMPARE[sign](left, right)
    if sign == "/":
        return divide(left, right)
    if sign == "**":
        return _power(float(left), float(right))
    if sign == "%":
        if not (_is_integer(left) and _is_integer(right)):
            raise _panic(f"invalid operation: {_type(left)} % {_type(right)}")
        if not right:
            raise _panic("integer divide by zero")
        return int(math.fmod(left, right))
    result = {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign](left, right)
    if isinstance(result, int):
        return (result + _INTEGER_LIMIT) % (2 * _INTEGER_LIMIT) - _INTEGER_LIMIT
    return result


def _power(base: float, exponent: float) -> float:
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.inf if not base else math.nan


def _rounded(value: Value, how: Callable[[float], float]) -> float:
    number = float(_number(value, "round"))
    return number if math.isinf(number) or math.isnan(number) else float(how(number))


def _to_integer(value: Value) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise _panic(f"invalid operation: int({value})") from None
    return go_integer(float(_number(value, "int"))) if isinstance(value, float) else int(_number(value, "int"))


def _to_float(value: Value) -> float:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise _panic(f"invalid argument for float (type string): {value}") from None
    return float(_number(value, "float"))


def _flat(function: str, values: list[Value]) -> list[float]:
    found: list[float] = []
    for each in values:
        if isinstance(each, list):
            found += _flat(function, each)
        elif isinstance(each, bool) or not isinstance(each, int | float):
            raise _panic(f"invalid argument for {function} (type {_type(each)})")
        else:
            found.append(each)
    return found


def _aggregate(function: str, arguments: list[Value]) -> Value:
    values = _flat(function, arguments)
    if function in {"mean", "median"}:
        if not values:
            return 0.0
        if function == "mean":
            return float(sum(values)) / len(values)
        ordered = sorted(float(each) for each in values)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    best: Value = None
    for each in values:
        # Strict comparison as in Go: a NaN that comes first stays, a later one never wins.
        if best is None or (best < each if function == "max" else best > each):
            best = each
    return best


def _time_method(moment: datetime, method: str) -> Value:
    values = {
        "Hour": moment.hour,
        "Minute": moment.minute,
        "Second": moment.second,
        "Day": moment.day,
        "Year": moment.year,
        "YearDay": moment.timetuple().tm_yday,
        "Unix": int(moment.timestamp()),
    }
    if method not in values:
        raise UnjudgedError(f"time method {method}")
    return values[method]
