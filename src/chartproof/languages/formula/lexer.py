"""Words of the language, cut exactly where expr-lang cuts them."""

# ruff: noqa: C901 - one case per kind of node or operator is the plainest form
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_WORD_OPERATORS = frozenset(
    {"not", "in", "or", "and", "matches", "contains", "startsWith", "endsWith", "let", "if", "else"}
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class FormulaError(ValueError):
    """A formula that KEDA refuses or cannot run; `stage` is `compile` or `run`."""

    def __init__(self, message: str, *, stage: str = "compile", position: int | None = None) -> None:
        super().__init__(message)
        self.stage = stage
        self.position = position


class UnjudgedError(Exception):
    """The formula uses a part of the language that this package does not evaluate."""


class Kind(Enum):
    """What a token is."""

    OPERATOR = "operator"
    BRACKET = "bracket"
    NAME = "name"
    NUMBER = "number"
    STRING = "string"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One word; `position` counts characters from the start of the formula."""

    kind: Kind
    text: str
    position: int

    def __str__(self) -> str:
        """Name it as messages do."""
        return "end of formula" if self.kind is Kind.END else repr(self.text)


def tokenize(source: str) -> list[Token]:
    """All tokens, ending with one of kind END. Raises FormulaError."""
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        character = source[position]
        start = position
        if character.isspace():
            position += 1
            continue
        if source.startswith("//", position):
            end = source.find("\n", position)
            position = len(source) if end < 0 else end
            continue
        if source.startswith("/*", position):
            end = source.find("*/", position + 2)
            if end < 0:
                raise FormulaError("unclosed comment", position=start)
            position = end + 2
            continue
        if character in "'\"`":
            text, position = _string(source, position)
            tokens.append(Token(Kind.STRING, text, start))
        elif character.isdigit() or (character == "." and source[position + 1 : position + 2].isdigit()):
            position = _number_end(source, position)
            tokens.append(Token(Kind.NUMBER, source[start:position], start))
        elif is_name_character(character):
            while position < len(source) and is_name_character(source[position]):
                position += 1
            word = source[start:position]
            tokens.append(Token(Kind.OPERATOR if word in _WORD_OPERATORS else Kind.NAME, word, start))
        elif character in "([{)]}":
            position += 1
            tokens.append(Token(Kind.BRACKET, character, start))
        else:
            position = _operator_end(source, position)
            tokens.append(Token(Kind.OPERATOR, source[start:position], start))
    tokens.append(Token(Kind.END, "", len(source)))
    return tokens


def is_name_character(character: str) -> bool:
    """Whether expr-lang takes the character as part of a name."""
    return character in "_$" or character.isalpha() or character.isdigit()


def _operator_end(source: str, position: int) -> int:
    character = source[position]
    following = source[position + 1 : position + 2]
    second = {"|": "|", ":": ":", "?": ".?", ".": ".", "#": "#"}.get(character)
    if character in "&!=*<>":
        second = "&=*"
    elif second is None and character not in ",;%+-^/":
        raise FormulaError(f"unrecognized character {character!r}", position=position)
    return position + (2 if second and following and following in second else 1)


def _number_end(source: str, position: int) -> int:
    start = position
    digits = "0123456789_"
    prefix = source[position : position + 2].lower()
    if prefix in {"0x", "0o", "0b"}:
        digits = {"0x": "0123456789abcdefABCDEF_", "0o": "01234567_", "0b": "01_"}[prefix]
        position += 2
    position = _run(source, position, digits)
    if source.startswith(".", position):
        if source.startswith("..", position):
            return position
        position = _run(source, position + 1, digits)
    if source[position : position + 1] in {"e", "E"}:
        position += 1
        if source[position : position + 1] in {"+", "-"}:
            position += 1
        position = _run(source, position, digits)
    if position < len(source) and is_name_character(source[position]):
        raise FormulaError(f"bad number syntax: {source[start : position + 1]!r}", position=start)
    return position


def _run(source: str, position: int, characters: str) -> int:
    while position < len(source) and source[position] in characters:
        position += 1
    return position


def _string(source: str, position: int) -> tuple[str, int]:
    quote = source[position]
    start = position
    position += 1
    text = []
    while position < len(source) and source[position] != quote:
        character = source[position]
        if character == "\\" and quote != "`":
            position += 1
            escaped = source[position : position + 1]
            if escaped not in _ESCAPES:
                raise UnjudgedError(f"escape {escaped!r} in a string")
            character = _ESCAPES[escaped]
        elif character == "\n" and quote != "`":
            break
        text.append(character)
        position += 1
    if source[position : position + 1] != quote:
        raise FormulaError("literal not terminated", position=start)
    return "".join(text), position + 1
