"""Smaller schemas: parts that occur more than once become definitions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from ci.generate.vocabulary import Schema

_WORTH_BYTES = 160
"""A reference costs about 30 bytes and one lookup per use: shorter parts stay in place."""


def share(schema: Schema) -> Schema:
    """An equivalent schema in which every large repeated part is written once, in `definitions`.

    A definition is named after the first property that it describes.
    """
    seen: Counter[str] = Counter()
    _count(schema, seen)
    definitions: dict[str, Schema] = {}
    names: dict[str, str] = {}

    def emit(part: Schema, name: str) -> Schema:
        key = _key(part)
        if seen[key] < 2 or len(key) < _WORTH_BYTES:  # noqa: PLR2004
            return _rebuild(part, name, emit)
        if key not in names:
            names[key] = _free(name, definitions)
            definitions[names[key]] = {}
            definitions[names[key]] = _rebuild(part, name, emit)
        return {"$ref": f"#/definitions/{names[key]}"}

    result = _rebuild(schema, "root", emit)
    return result | {"definitions": definitions} if definitions else result


def _count(part: Schema, seen: Counter[str]) -> None:
    key = _key(part)
    seen[key] += 1
    if seen[key] == 1:  # what repeats only inside a repeated part needs no definition of its own
        for _, child in _children(part):
            _count(child, seen)


def _children(part: Schema) -> Iterator[tuple[str, Schema]]:
    yield from part.get("properties", {}).items()
    for keyword in ("items", "additionalProperties"):
        if isinstance(part.get(keyword), dict):
            yield keyword, part[keyword]


def _rebuild(part: Schema, name: str, emit: Callable[[Schema, str], Schema]) -> Schema:
    result: dict[str, Any] = dict(part)
    if "properties" in part:
        result["properties"] = {key: emit(child, key) for key, child in part["properties"].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(part.get(keyword), dict):
            result[keyword] = emit(part[keyword], name)
    return result


def _key(part: Schema) -> str:
    return json.dumps(part, sort_keys=True)


def _free(name: str, taken: dict[str, Schema]) -> str:
    number = 2
    candidate = name
    while candidate in taken:
        candidate = f"{name}{number}"
        number += 1
    return candidate
