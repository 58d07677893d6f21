"""The type checker: what expr-lang refuses before running, with triggers as float64."""

# ruff: noqa: C901, PLR0911, PLR0912 - one case per kind of node or operator is the plainest form
from __future__ import annotations

from collections.abc import Callable, Iterable

from chartproof.languages.formula.lexer import FormulaError
from chartproof.languages.formula.syntax import (
    PLAIN_FUNCTIONS,
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

#: A type: int, float, bool, string, nil, map, env, time, or `[]` and the type of the elements.
#: ANY is what only the run can tell.
Type = str
ANY: Type = "any"
_NUMBERS = frozenset({"int", "float"})
_ORDERED = frozenset({*_NUMBERS, "string", "time", ANY})
_ROUNDING = frozenset({"ceil", "floor", "round"})
_AGGREGATES = frozenset({"max", "min", "mean", "median"})
_PREDICATES_OF_BOOL = frozenset(
    {"all", "none", "any", "one", "filter", "find", "findLast", "findIndex", "findLastIndex"}
)
_TIME_METHODS = frozenset({"Hour", "Minute", "Second", "Day", "Year", "YearDay", "Nanosecond", "Unix"})


class Checker:
    """Types of one formula's nodes, by identity; raises FormulaError where a compile would fail."""

    def __init__(self, triggers: Iterable[str]) -> None:
        self.triggers = frozenset(triggers)
        self.types: dict[int, Type] = {}
        self._variables: list[tuple[str, Type]] = []
        self._collections: list[tuple[Type, dict[str, Type]]] = []

    def check(self, node: Node) -> Type:
        """Type of a node."""
        found = self._check(node)
        self.types[id(node)] = found
        return found

    def _check(self, node: Node) -> Type:
        match node:
            case Literal(_, kind):
                return kind
            case Name(name):
                return self._name(name)
            case Unary(operator, operand):
                return self._unary(operator, self.check(operand))
            case Binary(operator, left, right):
                return self._binary(operator, self.check(left), self.check(right))
            case Conditional(condition, then, otherwise):
                return self._conditional(self.check(condition), self.check(then), self.check(otherwise))
            case Let(name, value, body):
                return self._let(name, value, body)
            case Sequence(nodes):
                return [self.check(each) for each in nodes][-1]
            case Array(items):
                types = [self.check(each) for each in items]
                return f"[]{types[0]}" if types and len(set(types)) == 1 else "[]any"
            case Map(pairs):
                for key, value in pairs:
                    self.check(key)
                    self.check(value)
                return "map"
            case Call(function, arguments):
                return (
                    self._predicate_call(function, arguments)
                    if function in PREDICATE_FUNCTIONS
                    else self._call(function, arguments)
                )
            case Pointer(name):
                return self._pointer(name)
            case Member():
                return self._member(node)
            case Slice(base, start, stop):
                return self._slice(base, start, stop)
            case _:
                raise FormulaError("predicate outside a function")

    def _name(self, name: str) -> Type:
        for known, kind in reversed(self._variables):
            if known == name:
                return kind
        if name == "$env":
            return "env"
        if name in self.triggers:
            return "float"
        if name in PLAIN_FUNCTIONS or name in PREDICATE_FUNCTIONS:
            return "function"
        raise FormulaError(f"unknown name {name}")

    def _unary(self, operator: str, operand: Type) -> Type:
        if operator == "not":
            if operand in {"bool", ANY}:
                return "bool"
        elif operand in _NUMBERS or operand == ANY:
            return operand
        raise FormulaError(f"invalid operation: {operator} (mismatched type {operand})")

    def _binary(self, operator: str, left: Type, right: Type) -> Type:
        both = {left, right}
        numbers = both <= _NUMBERS
        if operator in {"==", "!="}:
            if numbers or left == right or both & {ANY, "nil"}:
                return "bool"
        elif operator in {"and", "or"}:
            if _compatible(both, {"bool"}):
                return "bool"
        elif operator in {"<", ">", "<=", ">="}:
            if (
                numbers
                or (left == right and left in {"string", "time"})
                or _compatible(both, {*_NUMBERS, "string", "time"})
            ):
                return "bool"
        elif operator in {"+", "-", "*"}:
            if numbers:
                return "float" if "float" in both else "int"
            if operator == "+" and both == {"string"}:
                return "string"
            if operator == "-" and both == {"time"}:
                return ANY
            if ANY in both and _compatible(
                both, {*_NUMBERS, "string", "time"} if operator == "+" else {*_NUMBERS, "time"}
            ):
                return ANY
        elif operator in {"/", "**"}:
            if _compatible(both, _NUMBERS):
                return "float"
        elif operator == "%":
            if _compatible(both, {"int"}):
                return "int"
        elif operator == "..":
            if _compatible(both, {"int"}):
                return "[]int"
        elif operator in {"contains", "startsWith", "endsWith", "matches"}:
            if _compatible(both, {"string"}):
                return "bool"
        elif operator == "in":
            return self._in(left, right)
        elif operator == "??":
            if left == "nil":
                return right
            return left if right in {"nil", left} else ANY
        else:
            raise FormulaError(f"unknown operator ({operator})")
        raise FormulaError(f"invalid operation: {operator} (mismatched types {left} and {right})")

    def _in(self, left: Type, right: Type) -> Type:
        if right in {"env", "map"}:
            if left in {"string", ANY}:
                return "bool"
            raise FormulaError(f"cannot use {left} as type string in map key")
        if right.startswith("[]"):
            element = right[2:]
            if left == element or {left, element} <= _NUMBERS or ANY in {left, element}:
                return "bool"
            raise FormulaError(f"cannot use {left} as type {element} in array")
        if right == ANY:
            return "bool"
        raise FormulaError(f"invalid operation: in (mismatched types {left} and {right})")

    def _conditional(self, condition: Type, then: Type, otherwise: Type) -> Type:
        if condition not in {"bool", ANY}:
            raise FormulaError(f"non-bool expression (type {condition}) used as condition")
        if "nil" in {then, otherwise}:
            return otherwise if then == "nil" else then
        return then if then == otherwise else ANY

    def _let(self, name: str, value: Node, body: Node) -> Type:
        if name in self.triggers:
            raise FormulaError(f"cannot redeclare {name}")
        if name in PLAIN_FUNCTIONS or name in PREDICATE_FUNCTIONS:
            raise FormulaError(f"cannot redeclare builtin {name}")
        if any(known == name for known, _ in self._variables):
            raise FormulaError(f"cannot redeclare variable {name}")
        self._variables.append((name, self.check(value)))
        kind = self.check(body)
        self._variables.pop()
        return kind

    def _pointer(self, name: str) -> Type:
        if not self._collections:
            raise FormulaError("cannot use # outside a predicate")
        collection, variables = self._collections[-1]
        if not name:
            return collection[2:] if collection.startswith("[]") else ANY
        if name not in variables:
            raise FormulaError(f"unknown pointer #{name}")
        return variables[name]

    def _member(self, node: Member) -> Type:
        base = self.check(node.base)
        prop = self.check(node.property)
        for argument in node.arguments or ():
            self.check(argument)
        name = node.property.value if isinstance(node.property, Literal) else None
        if base == "env":
            if isinstance(name, str) and name not in self.triggers and not node.optional:
                raise FormulaError(f"unknown name {name}")
            return "float"
        if base in {ANY, "map"}:
            return ANY
        if base == "time" and node.arguments is not None:
            return "int" if name in _TIME_METHODS else ANY
        if base.startswith("[]"):
            if prop not in {"int", ANY}:
                raise FormulaError(f"array elements can only be selected using an integer (got {prop})")
            return base[2:]
        raise FormulaError(f"type {base} has no field {name}")

    def _slice(self, base: Node, start: Node | None, stop: Node | None) -> Type:
        kind = self.check(base)
        if kind not in {ANY, "string"} and not kind.startswith("[]"):
            raise FormulaError(f"cannot slice {kind}")
        for bound in (start, stop):
            if bound is not None and (found := self.check(bound)) not in {"int", ANY}:
                raise FormulaError(f"non-integer slice index {found}")
        return kind

    def _call(self, function: str, arguments: tuple[Node, ...]) -> Type:
        types = [self.check(each) for each in arguments]
        if function in _AGGREGATES:
            return _aggregate(function, types)
        if function in {*_ROUNDING, "abs", "int", "float"}:
            _one_number(function, types, strings=function in {"int", "float"})
            if function in {"int", "float"}:
                return function
            return types[0] if function == "abs" else "float"
        if function == "len":
            if len(types) != 1:
                raise FormulaError(f"invalid number of arguments (expected 1, got {len(types)})")
            if types[0] not in {ANY, "string", "map", "env"} and not types[0].startswith("[]"):
                raise FormulaError(f"invalid argument for len (type {types[0]})")
            return "int"
        if function == "now":
            return "time"
        if function in {"string", "type", "upper", "lower", "trim"}:
            return "string"
        return ANY

    def _predicate_call(self, function: str, arguments: tuple[Node, ...]) -> Type:
        collection = self.check(arguments[0])
        if collection != ANY and not collection.startswith("[]"):
            raise FormulaError(f"builtin {function} takes only array (got {collection})")
        element = collection[2:] if collection.startswith("[]") else ANY
        body: Type = ANY
        if len(arguments) > 1 and isinstance(arguments[1], Predicate):
            variables = {"map": {"index": "int"}, "reduce": {"index": "int", "acc": ANY}}.get(function, {})
            self._collections.append((collection, variables))
            body = self.check(arguments[1].body)
            self._collections.pop()
            if function in _PREDICATES_OF_BOOL and body not in {"bool", ANY}:
                raise FormulaError(f"predicate should return boolean (got {body})")
        for further in arguments[2:]:
            self.check(further)
        results: dict[str, Callable[[], Type]] = {
            "count": lambda: "int",
            "sum": lambda: body if len(arguments) > 1 else element,
            "filter": lambda: collection if collection != ANY else "[]any",
            "map": lambda: f"[]{body}",
            "find": lambda: element,
            "findLast": lambda: element,
            "findIndex": lambda: "int",
            "findLastIndex": lambda: "int",
            "sortBy": lambda: collection,
            "reduce": lambda: body,
            "groupBy": lambda: "map",
        }
        return results.get(function, lambda: "bool")()


def _compatible(both: set[Type], allowed: Iterable[Type]) -> bool:
    return both <= {*allowed, ANY}


def _one_number(function: str, types: list[Type], *, strings: bool) -> None:
    if len(types) != 1:
        raise FormulaError(f"invalid number of arguments (expected 1, got {len(types)})")
    if types[0] not in _NUMBERS and types[0] != ANY and not (strings and types[0] == "string"):
        raise FormulaError(f"invalid argument for {function} (type {types[0]})")


def _aggregate(function: str, types: list[Type]) -> Type:
    if not types:
        raise FormulaError(f"not enough arguments to call {function}")
    for each in types:
        if each == ANY or each.startswith("[]"):
            return ANY
        if each not in _NUMBERS:
            raise FormulaError(f"invalid argument for {function} (type {each})")
    return types[0]
