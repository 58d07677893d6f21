"""YAML as Helm and the API server read it.

Both go through the Go package `go.yaml.in/yaml/v2` and then JSON, which differs from PyYAML:
`12:30:45` and `2026-01-01` are strings, `1e3` is a number, `y` and `n` are booleans, keys become
strings, and a number without fraction is an integer. Keys given twice are refused here, as Helm
refuses them in values; the API server silently keeps the last.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import yaml

# The C parser is several times faster; it is part of every PyYAML wheel, not of every build of it.
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASES = {"x": 16, "o": 8, "b": 2}
# Above this Go's JSON encoder writes an exponent, and the number stays a float.
_LARGEST_PLAIN_FLOAT = 1e21
# Far above any manifest of 256 MB that is written out; only aliases reach it.
_MOST_NODES = 50_000_000


class YamlError(Exception):
    """Text that is not YAML; `line` counts from 1."""

    def __init__(self, problem: str, line: int) -> None:
        self.problem = problem
        self.line = line
        super().__init__(f"line {line}: {problem}")


def documents(text: str) -> Iterator[tuple[int, Any]]:
    """Every document of a stream with the line it starts at; empty documents are None.

    Raises YamlError at the first document that cannot be read.
    """
    loader = _Loader(text)
    try:
        reader = _Reader(loader)
        yield from reader.documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = ", ".join(part for part in (error.problem, error.context) if part)
        raise YamlError(problem, mark.line + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(f"character {error.character!r} is not allowed", line) from error
    finally:
        loader.dispose()


def load(text: str) -> Any:
    """The only document of a text. Raises YamlError where it cannot be read or is more than one."""
    found = list(documents(text))
    if len(found) > 1:
        raise YamlError("a second document starts here, one is expected", found[1][0])
    return found[0][1] if found else None


@lru_cache(maxsize=8192)
def resolve(text: str) -> Any:
    """The value of a plain (unquoted) scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    plain = text.replace("_", "") if text[0] != "." else text
    if _INTEGER.fullmatch(plain):
        return _integer(plain)
    if _FLOAT.fullmatch(plain):
        return as_json(float(plain))
    return text


def as_json(number: float) -> int | float:
    """Go's JSON encoder drops a fraction of zero, so that `1.0` arrives as an integer."""
    return int(number) if number.is_integer() and abs(number) < _LARGEST_PLAIN_FLOAT else number


def _integer(plain: str) -> int:
    sign = -1 if plain[0] == "-" else 1
    digits = plain.lstrip("+-").lower()
    if digits[0] == "0" and len(digits) > 1:
        base = _BASES.get(digits[1])
        return sign * (int(digits[2:], base) if base else int(digits, 8))
    return sign * int(digits)


def _tagged(text: str, tag: str, event: Any) -> Any:
    """A scalar with an explicit tag such as `!!str`."""
    kind = tag.rpartition(":")[2].lstrip("!")
    value = resolve(text)
    if kind in {"str", "binary", "timestamp"}:
        return text
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return value
    expected = {"bool": bool, "int": int, "float": float, "null": type(None)}.get(kind)
    if expected is None or not isinstance(value, expected) or (kind == "int" and isinstance(value, bool)):
        raise yaml.constructor.ConstructorError(None, None, f"cannot read {text!r} as {tag}", event.start_mark)
    return value


class _Reader:
    """Builds values straight from parser events: no node tree, no tag lookup of quoted scalars."""

    def __init__(self, loader: Any) -> None:
        self._next = loader.get_event
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0

    def documents(self) -> Iterator[tuple[int, Any]]:
        while True:
            event = self._next()
            if event is None or isinstance(event, yaml.StreamEndEvent):
                return
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                first = self._next()
                yield first.start_mark.line + 1, self._value(first)

    def _value(self, event: Any) -> Any:
        kind = type(event)
        if kind is yaml.AliasEvent:
            return self._alias(event)
        before = self._nodes
        self._nodes += 1
        value: Any
        if kind is yaml.ScalarEvent:
            value = self._scalar(event)
        elif kind is yaml.MappingStartEvent:
            value = self._mapping()
        else:
            value = []
            while type(item := self._next()) is not yaml.SequenceEndEvent:
                value.append(self._value(item))
        if event.anchor:
            self._anchors[event.anchor] = value, self._nodes - before
        return value

    def _alias(self, event: Any) -> Any:
        """The anchored value, counted as if it were written out: a few lines can mean terabytes."""
        problem = ""
        if event.anchor not in self._anchors:
            problem = f"unknown anchor {event.anchor!r}"
        else:
            value, nodes = self._anchors[event.anchor]
            self._nodes += nodes
            if self._nodes <= _MOST_NODES:
                return value
            problem = "anchors and aliases expand to an excessive size"
        raise yaml.composer.ComposerError(None, None, problem, event.start_mark)

    @staticmethod
    def _scalar(event: Any) -> Any:
        text = event.value
        if event.tag and event.tag != "!":
            return _tagged(text, event.tag, event)
        return resolve(text) if event.implicit[0] else text

    def _mapping(self) -> dict[str, Any]:
        value: dict[str, Any] = {}
        merged: list[Any] = []
        while type(event := self._next()) is not yaml.MappingEndEvent:
            if type(event) is yaml.ScalarEvent and event.value == "<<" and event.implicit[0]:
                merged.append((event, self._value(self._next())))
                continue
            key = self._key(event)
            if key in value:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice in one mapping", event.start_mark
                )
            value[key] = self._value(self._next())
        for event, source in merged:
            for each in source if isinstance(source, list) else [source]:
                if not isinstance(each, dict):
                    raise yaml.constructor.ConstructorError(None, None, "<< needs a mapping", event.start_mark)
                for key, inherited in each.items():
                    value.setdefault(key, inherited)
        return value

    def _key(self, event: Any) -> str:
        key = self._value(event)
        if isinstance(key, str):
            return key
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, int | float):
            return str(key)
        problem = "a key must be a string" if key is not None else "a key is empty"
        raise yaml.constructor.ConstructorError(None, None, problem, event.start_mark)
