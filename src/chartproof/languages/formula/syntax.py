"""The tree of a formula, and the parser that builds it as expr-lang does."""

# ruff: noqa: C901, PLR0911, PLR0912 - one case per kind of node or operator is the plainest form
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from chartproof.languages.formula.lexer import FormulaError, Kind, Token, UnjudgedError, tokenize

__all__ = ["FormulaError", "Node", "UnjudgedError", "parse"]

#: Longest formula that is read: far above any real one, and it bounds the recursion.
LONGEST_FORMULA = 4096

_UNARY = {"not": 50, "!": 50, "-": 90, "+": 90}
_RIGHT_ASSOCIATIVE = {"**", "^"}
_COMPARISONS = {"<", ">", "<=", ">="}
_NEGATABLE = {"contains", "matches", "startsWith", "endsWith", "in"}
_BINARY = {
    "|": 0,
    "or": 10,
    "||": 10,
    "and": 15,
    "&&": 15,
    "==": 20,
    "!=": 20,
    "<": 20,
    ">": 20,
    ">=": 20,
    "<=": 20,
    "in": 20,
    "matches": 20,
    "contains": 20,
    "startsWith": 20,
    "endsWith": 20,
    "..": 25,
    "+": 30,
    "-": 30,
    "*": 60,
    "/": 60,
    "%": 60,
    "**": 100,
    "^": 100,
    "??": 500,
}

#: Functions that take a predicate: how many arguments they need and may have, and which is the predicate.
PREDICATE_FUNCTIONS = {
    "all": (2, 2),
    "none": (2, 2),
    "any": (2, 2),
    "one": (2, 2),
    "filter": (2, 2),
    "map": (2, 2),
    "count": (1, 2),
    "sum": (1, 2),
    "find": (2, 2),
    "findIndex": (2, 2),
    "findLast": (2, 2),
    "findLastIndex": (2, 2),
    "groupBy": (2, 2),
    "sortBy": (2, 3),
    "reduce": (2, 3),
}
#: The other functions of the language.
PLAIN_FUNCTIONS = frozenset(
    {
        *("len", "type", "int", "float", "string"),
        *("abs", "ceil", "floor", "round", "max", "min", "mean", "median"),
        *("trim", "trimPrefix", "trimSuffix", "upper", "lower", "split", "splitAfter", "replace", "repeat", "join"),
        *("indexOf", "lastIndexOf", "hasPrefix", "hasSuffix", "toJSON", "fromJSON", "toBase64", "fromBase64"),
        *("now", "duration", "date", "timezone"),
        *("first", "last", "get", "take", "keys", "values", "toPairs", "fromPairs"),
        *("reverse", "uniq", "concat", "flatten", "sort"),
        *("bitand", "bitor", "bitxor", "bitnand", "bitshl", "bitshr", "bitushr", "bitnot"),
    }
)


@dataclass(frozen=True)
class Node:
    """Part of a formula. Equal parts compare equal wherever they stand."""


@dataclass(frozen=True)
class Literal(Node):
    """A number, string, boolean or nil (None)."""

    value: Any
    #: 1 and 1.0 are equal in Python and different types in the language.
    type: str


@dataclass(frozen=True)
class Name(Node):
    """A trigger, a `let` variable, or `$env`."""

    name: str


@dataclass(frozen=True)
class Unary(Node):
    """`-x`, `+x`, `not x`."""

    operator: str
    operand: Node


@dataclass(frozen=True)
class Binary(Node):
    """`a + b` and every other operator with two sides; `&&` and `||` are written `and` and `or`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Conditional(Node):
    """`a ? b : c` and `if a {b} else {c}`."""

    condition: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True)
class Let(Node):
    """`let x = value; body`."""

    name: str
    value: Node
    body: Node


@dataclass(frozen=True)
class Sequence(Node):
    """`a; b`: the value of the last."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Array(Node):
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Map(Node):
    """`{a: b}`."""

    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True)
class Call(Node):
    """A call of a function of the language."""

    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Predicate(Node):
    """`{# > 1}`, the second argument of `filter` and its like."""

    body: Node


@dataclass(frozen=True)
class Pointer(Node):
    """`#`, the element, or `#index`, `#acc` inside a predicate."""

    name: str


@dataclass(frozen=True)
class Member(Node):
    """`a.b`, `a[b]`; a method call where `arguments` is not None."""

    base: Node
    property: Node
    optional: bool = False
    arguments: tuple[Node, ...] | None = None


@dataclass(frozen=True)
class Slice(Node):
    """`a[1:2]`."""

    base: Node
    start: Node | None
    stop: Node | None


def children(node: Node) -> tuple[Node, ...]:
    """The parts of a node, in order."""
    match node:
        case Unary(_, operand):
            return (operand,)
        case Binary(_, left, right):
            return (left, right)
        case Conditional(condition, then, otherwise):
            return (condition, then, otherwise)
        case Let(_, value, body):
            return (value, body)
        case Sequence(nodes) | Array(nodes) | Call(_, nodes):
            return nodes
        case Map(pairs):
            return tuple(side for pair in pairs for side in pair)
        case Predicate(body):
            return (body,)
        case Member(base, prop, _, arguments):
            return (base, prop, *(arguments or ()))
        case Slice(base, start, stop):
            return tuple(each for each in (base, start, stop) if each is not None)
        case _:
            return ()


def parse(source: str, triggers: Iterable[str] = ()) -> Node:
    """The tree of a formula as written (without KEDA's wrapping). Raises FormulaError.

    A trigger named like a function hides it: with a trigger `max`, `max(a, b)` calls a number.
    """
    if len(source) > LONGEST_FORMULA:
        raise UnjudgedError(f"formula longer than {LONGEST_FORMULA} characters")
    parser = _Parser(tokenize(source), frozenset(triggers))
    try:
        node = parser.sequence()
    except RecursionError:
        raise UnjudgedError("formula nested too deeply") from None
    if parser.current.kind is not Kind.END:
        raise parser.unexpected()
    return node


class _Parser:
    def __init__(self, tokens: list[Token], triggers: frozenset[str]) -> None:
        self.tokens = tokens
        self.triggers = triggers
        self.index = 0
        self.depth = 0

    @property
    def current(self) -> Token:
        return self.tokens[self.index]

    def advance(self) -> Token:
        token = self.current
        if token.kind is Kind.END:
            raise FormulaError("unexpected end of formula", position=token.position)
        self.index += 1
        return token

    def at(self, kind: Kind, *texts: str) -> bool:
        return self.current.kind is kind and (not texts or self.current.text in texts)

    def accept(self, kind: Kind, text: str) -> bool:
        if self.at(kind, text):
            self.index += 1
            return True
        return False

    def expect(self, kind: Kind, *texts: str) -> Token:
        if not self.at(kind, *texts):
            raise self.unexpected()
        return self.advance()

    def unexpected(self) -> FormulaError:
        return FormulaError(f"unexpected token {self.current}", position=self.current.position)

    def sequence(self) -> Node:
        nodes = [self.expression(0)]
        while self.accept(Kind.OPERATOR, ";"):
            if self.current.kind is Kind.END:
                break
            nodes.append(self.expression(0))
        return nodes[0] if len(nodes) == 1 else Sequence(tuple(nodes))

    def expression(self, precedence: int) -> Node:
        if precedence == 0 and self.at(Kind.OPERATOR, "let"):
            return self.let()
        if precedence == 0 and self.at(Kind.OPERATOR, "if"):
            return self.conditional_if()
        left = self.primary()
        previous = ""
        while self.current.kind is Kind.OPERATOR:
            negated = self.at(Kind.OPERATOR, "not")
            if negated:
                following = self.tokens[self.index + 1]
                if following.text not in _NEGATABLE:
                    self.advance()
                    raise self.unexpected()
                operator = following.text
            else:
                operator = self.current.text
            strength = _BINARY.get(operator)
            if strength is None or strength < precedence:
                break
            if negated:
                self.advance()
            token = self.advance()
            if operator == "|":
                name = self.expect(Kind.NAME)
                left = self.call(name, (left,))
            elif previous == "??" and operator != "??":
                raise FormulaError(
                    f"operator {operator} and ?? cannot be mixed: put parentheses around either",
                    position=token.position,
                )
            elif operator in _COMPARISONS:
                left = self.comparison(left, operator, strength)
            else:
                right = self.expression(strength if operator in _RIGHT_ASSOCIATIVE else strength + 1)
                left = Binary({"&&": "and", "||": "or", "^": "**"}.get(operator, operator), left, right)
                if negated:
                    left = Unary("not", left)
            previous = operator
        return self.ternary(left) if precedence == 0 else left

    def comparison(self, left: Node, operator: str, strength: int) -> Node:
        root: Node | None = None
        while True:
            right = self.expression(strength + 1)
            part = Binary(operator, left, right)
            root = part if root is None else Binary("and", root, part)
            left = right
            if not self.at(Kind.OPERATOR, *_COMPARISONS):
                return root
            operator = self.advance().text

    def let(self) -> Node:
        self.advance()
        name = self.expect(Kind.NAME).text
        self.expect(Kind.OPERATOR, "=")
        value = self.expression(0)
        self.expect(Kind.OPERATOR, ";")
        return Let(name, value, self.sequence())

    def conditional_if(self) -> Node:
        self.advance()
        condition = self.expression(0)
        then = self.block()
        self.expect(Kind.OPERATOR, "else")
        return Conditional(condition, then, self.conditional_if() if self.at(Kind.OPERATOR, "if") else self.block())

    def block(self) -> Node:
        self.expect(Kind.BRACKET, "{")
        node = self.sequence()
        self.expect(Kind.BRACKET, "}")
        return node

    def ternary(self, node: Node) -> Node:
        while self.accept(Kind.OPERATOR, "?"):
            if self.accept(Kind.OPERATOR, ":"):
                then = node
            else:
                then = self.expression(0)
                self.expect(Kind.OPERATOR, ":")
            node = Conditional(node, then, self.expression(0))
        return node

    def primary(self) -> Node:
        token = self.current
        if token.kind is Kind.OPERATOR and token.text in _UNARY:
            self.advance()
            operand = self.expression(_UNARY[token.text])
            return self.postfix(Unary("not" if token.text == "!" else token.text, operand))
        if self.accept(Kind.BRACKET, "("):
            node = self.sequence()
            self.expect(Kind.BRACKET, ")")
            return self.postfix(node)
        if self.depth and self.at(Kind.OPERATOR, "#", "."):
            name = ""
            if self.accept(Kind.OPERATOR, "#") and self.current.kind is Kind.NAME:
                adjacent = self.current.position == token.position + 1
                name = self.advance().text if adjacent else ""
            return self.postfix(Pointer(name))
        if self.accept(Kind.OPERATOR, "::"):
            return self.postfix(self.call(self.expect(Kind.NAME), (), overridable=False))
        return self.secondary()

    def secondary(self) -> Node:
        token = self.current
        if token.kind is Kind.NAME:
            self.advance()
            constant = {"true": True, "false": False, "nil": None}
            if token.text in constant:
                value = constant[token.text]
                return Literal(value, "nil" if value is None else "bool")
            if self.at(Kind.BRACKET, "("):
                return self.postfix(self.call(token, ()))
            return self.postfix(Name(token.text))
        if token.kind is Kind.NUMBER:
            self.advance()
            return _number(token)
        if token.kind is Kind.STRING:
            self.advance()
            return self.postfix(Literal(token.text, "string"))
        if self.at(Kind.BRACKET, "["):
            return self.postfix(Array(tuple(self.items("[", "]"))))
        if self.at(Kind.BRACKET, "{"):
            return self.postfix(self.map())
        if token.kind is Kind.END:
            raise FormulaError("unexpected end of formula", position=token.position)
        raise self.unexpected()

    def items(self, opening: str, closing: str) -> list[Node]:
        self.expect(Kind.BRACKET, opening)
        found: list[Node] = []
        while not self.at(Kind.BRACKET, closing):
            if found:
                self.expect(Kind.OPERATOR, ",")
                if self.at(Kind.BRACKET, closing):
                    break
            found.append(self.expression(0))
        self.expect(Kind.BRACKET, closing)
        return found

    def map(self) -> Node:
        self.expect(Kind.BRACKET, "{")
        pairs: list[tuple[Node, Node]] = []
        while not self.at(Kind.BRACKET, "}"):
            if pairs:
                self.expect(Kind.OPERATOR, ",")
                if self.at(Kind.BRACKET, "}"):
                    break
            key: Node
            if self.current.kind in {Kind.NUMBER, Kind.STRING, Kind.NAME}:
                key = Literal(self.advance().text, "string")
            elif self.at(Kind.BRACKET, "("):
                key = self.expression(0)
            else:
                raise self.unexpected()
            self.expect(Kind.OPERATOR, ":")
            pairs.append((key, self.expression(0)))
        self.expect(Kind.BRACKET, "}")
        return Map(tuple(pairs))

    def call(self, name: Token, piped: tuple[Node, ...], *, overridable: bool = True) -> Node:
        if overridable and name.text in self.triggers:
            raise FormulaError(f"{name.text} is a trigger, a number, and not callable", position=name.position)
        if name.text in PREDICATE_FUNCTIONS:
            return Call(name.text, self.predicate_arguments(name.text, piped))
        arguments = (*piped, *self.items("(", ")"))
        if name.text not in PLAIN_FUNCTIONS:
            raise FormulaError(f"unknown function {name.text}", position=name.position)
        return Call(name.text, arguments)

    def predicate_arguments(self, function: str, piped: tuple[Node, ...]) -> tuple[Node, ...]:
        least, most = PREDICATE_FUNCTIONS[function]
        self.expect(Kind.BRACKET, "(")
        arguments = list(piped)
        while len(arguments) < most:
            if self.at(Kind.BRACKET, ")"):
                if len(arguments) < least:
                    raise FormulaError(f"{function} needs at least {least} arguments", position=self.current.position)
                break
            if len(arguments) > len(piped):
                self.expect(Kind.OPERATOR, ",")
            arguments.append(self.predicate() if len(arguments) == 1 else self.expression(0))
        self.accept(Kind.OPERATOR, ",")
        self.expect(Kind.BRACKET, ")")
        return tuple(arguments)

    def predicate(self) -> Node:
        self.depth += 1
        if self.accept(Kind.BRACKET, "{"):
            body = self.sequence()
            self.expect(Kind.BRACKET, "}")
        else:
            body = self.expression(0)
        self.depth -= 1
        return Predicate(body)

    def postfix(self, node: Node) -> Node:
        while True:
            if self.at(Kind.OPERATOR, ".", "?."):
                optional = self.advance().text == "?."
                if optional and self.at(Kind.BRACKET, "["):
                    node = self.index_or_slice(node, optional=True)
                    continue
                if self.current.kind not in {Kind.NAME, Kind.OPERATOR}:
                    raise FormulaError("expected name", position=self.current.position)
                prop = Literal(self.advance().text, "string")
                arguments = tuple(self.items("(", ")")) if self.at(Kind.BRACKET, "(") else None
                node = Member(node, prop, optional, arguments)
            elif self.at(Kind.BRACKET, "["):
                node = self.index_or_slice(node, optional=False)
            else:
                return node

    def index_or_slice(self, base: Node, *, optional: bool) -> Node:
        self.expect(Kind.BRACKET, "[")
        start = None if self.at(Kind.OPERATOR, ":") else self.expression(0)
        if self.accept(Kind.OPERATOR, ":"):
            stop = None if self.at(Kind.BRACKET, "]") else self.expression(0)
            self.expect(Kind.BRACKET, "]")
            return Slice(base, start, stop)
        self.expect(Kind.BRACKET, "]")
        if start is None:
            raise self.unexpected()
        return Member(base, start, optional)


def _number(token: Token) -> Literal:
    text = token.text.replace("_", "").lower()
    try:
        if text[:2] in {"0x", "0b", "0o"}:
            return _integer(int(text, 0), token)
        if "." in text or "e" in text:
            return Literal(float(text), "float")
        return _integer(int(text), token)
    except ValueError:
        raise FormulaError(f"bad number {token.text!r}", position=token.position) from None


def _integer(value: int, token: Token) -> Literal:
    if value > 2**63 - 1:
        raise FormulaError(f"integer {token.text!r} is too large", position=token.position)
    return Literal(value, "int")
