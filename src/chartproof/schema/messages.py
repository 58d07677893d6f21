"""Schema errors in words: what is wrong, where, and what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeAlias

from chartproof.schema.engine import Violation

ValidationError: TypeAlias = Any
"""jsonschema's error: its attributes are typed as possibly unset, which they are not once yielded."""
Schema: TypeAlias = Mapping[str, Any]

_LISTED = 8
"""Fields or values named in one hint: more are hard to read."""
_SEARCH_DEPTH = 12
"""How deep a misplaced field is looked for; a container's resources are 8 deep in a CronJob."""
_EVERYWHERE = frozenset({"apiVersion", "kind", "metadata", "name", "namespace", "status"})
"""Fields of so many objects that another place of theirs is no hint."""
_NOUNS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "a string",
}


def describe(errors: Iterable[ValidationError], schema: Schema) -> list[Violation]:
    """One violation per problem, in the order of their paths.

    `schema` is that of the whole document: fields that stand in the wrong place are looked up in it.
    """
    found: dict[tuple[str, str], Violation] = {}
    for error in errors:
        for violation in _violations(error, schema):
            found.setdefault((violation.path, violation.message), violation)
    return sorted(found.values(), key=lambda each: each.path)


def dotted(steps: Iterable[str | int]) -> str:
    """A path as findings write it: `spec.containers[0].image`, `metadata.labels["a.b/c"]`."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step.isidentifier() or step.replace("-", "_").isidentifier():
            path += f".{step}" if path else step
        else:
            path += f"[{json.dumps(step)}]"
    return path


def _violations(error: ValidationError, schema: Schema) -> Iterator[Violation]:
    steps = list(error.absolute_path)
    keyword = str(error.validator)
    if keyword == "additionalProperties":
        yield from _unknown_fields(error, steps, schema)
    elif keyword == "required":
        missing = [each for each in error.validator_value if each not in error.instance]
        for name in missing:
            yield Violation(dotted(steps), f"the required field `{name}` is missing", f"add `{name}:`")
    elif keyword in _DESCRIPTIONS:
        message, hint = _DESCRIPTIONS[keyword](error)
        yield Violation(dotted(steps), message, hint)
    elif keyword == "anyOf" and all(set(each) == {"required"} for each in error.validator_value):
        names = " or ".join(f"`{each['required'][0]}`" for each in error.validator_value)
        yield Violation(dotted(steps), f"{names} is missing", f"add {names}")
    else:
        yield Violation(dotted(steps), f"{_shown(error.instance)} is not allowed here: {error.message}")


def _unknown_fields(
    error: ValidationError, steps: Sequence[str | int], schema: Mapping[str, Any]
) -> Iterator[Violation]:
    known = sorted(error.schema.get("properties", {}))
    patterns = error.schema.get("patternProperties", {})
    for name in error.instance:
        if name in known or _matches(name, patterns):
            continue
        if patterns:
            hint = "use letters, digits, '-', '_' and '.', at most 63, after an optional DNS name and '/'"
            yield Violation(dotted([*steps, name]), f"{_shown(name)} is no valid key here", hint)
        else:
            hint = _meant(name, known) or _belongs(name, steps, schema) or _choices(known)
            yield Violation(dotted([*steps, name]), f"unknown field `{name}`", hint)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.search(each, name) for each in patterns)


def _meant(name: str, known: Sequence[str]) -> str:
    """The known field or value that was most likely meant."""
    by_lower = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return f"did you mean `{by_lower[close[0]]}`?" if close else ""


def _choices(known: Sequence[str]) -> str:
    if not known:
        return "leave it out: nothing is allowed here"
    shown = ", ".join(f"`{each}`" for each in known[:_LISTED])
    return f"known here: {shown}" + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")


def _belongs(name: str, steps: Sequence[str | int], schema: Schema) -> str:
    """Where else the document may have a field of this name, nearest first: mostly wrong indentation."""
    here = tuple(str(each) for each in steps if isinstance(each, str))
    if name in _EVERYWHERE:
        return ""
    places = [place for place in _places(name, schema) if place[:1] != ("status",)]
    if not places:
        return ""

    def distance(place: tuple[str, ...]) -> tuple[int, int]:
        shared = sum(1 for _ in _common(place, here))
        return len(place) + len(here) - 2 * shared, len(place)

    best = min(places, key=distance)
    return f"`{name}` belongs to `{'.'.join(best)}`" if best else f"`{name}` belongs to the top level"


def _common(one: Sequence[str], other: Sequence[str]) -> Iterator[str]:
    for a, b in zip(one, other, strict=False):
        if a != b:
            return
        yield a


def _places(name: str, schema: Schema) -> Iterator[tuple[str, ...]]:
    """Paths of all objects of the schema that have a field of this name."""
    pending: list[tuple[tuple[str, ...], Schema]] = [((), schema)]
    visited: set[int] = set()
    while pending:
        path, part = pending.pop(0)
        if len(path) > _SEARCH_DEPTH:
            continue
        while isinstance(part.get("items"), Mapping):
            part = part["items"]
        properties = part.get("properties", {})
        if name in properties:
            yield path
        # A definition may be reached by several paths, but not by ever longer ones.
        if id(part) in visited and len(path) > _SEARCH_DEPTH // 2:
            continue
        visited.add(id(part))
        pending += [((*path, key), child) for key, child in properties.items()]


def _type(error: ValidationError) -> tuple[str, str]:
    wanted = error.validator_value
    allowed = [wanted] if isinstance(wanted, str) else [each for each in wanted if each != "null"]
    message = f"must be {' or '.join(_NOUNS[each] for each in allowed)}, not {_described(error.instance)}"
    value = error.instance
    if value is None:
        return message, "give it a value, or leave the field out"
    if "string" in allowed and isinstance(value, int | float):
        return message, f'write it in quotes: "{json.dumps(value)}"'
    if isinstance(value, str) and {"integer", "number", "boolean"} & {*allowed} and _is_plain(value, allowed):
        return message, f"write it without quotes: {value.strip()}"
    if allowed == ["array"]:
        return message, "write a list: each item on a line of its own that starts with `- `"
    return message, ""


def _is_plain(value: str, allowed: Sequence[str]) -> bool:
    if "boolean" in allowed:
        return value.strip() in {"true", "false"}
    return value.strip().lstrip("-").isdigit() or ("number" in allowed and value.strip().replace(".", "", 1).isdigit())


def _enum(error: ValidationError) -> tuple[str, str]:
    values = [str(each) for each in error.validator_value if each not in {None, ""}]
    hint = _meant(error.instance, values) if isinstance(error.instance, str) else ""
    if len(values) == 1:
        return f"must be {values[0]}, not {_shown(error.instance)}", f"write {values[0]}"
    return f"must be one of {', '.join(values)}, not {_shown(error.instance)}", hint


def _pattern(error: ValidationError) -> tuple[str, str]:
    title = error.schema.get("title")
    if title:
        return f"must be {title}, not {_shown(error.instance)}", ""
    return f"{_shown(error.instance)} does not have the form it must have", f"it must match {error.validator_value}"


def _bound(word: str, what: str = "") -> Callable[[ValidationError], tuple[str, str]]:
    def bounded(error: ValidationError) -> tuple[str, str]:
        limit = error.validator_value
        if not what:
            return f"must be {word} {limit}, not {_shown(error.instance)}", ""
        size = len(error.instance)
        return f"must have {word} {limit} {what}{'' if limit == 1 else 's'}, not {size}", ""

    return bounded


def _unique(_: ValidationError) -> tuple[str, str]:
    return "an item occurs twice", "keep one of the two"


_DESCRIPTIONS: Mapping[str, Callable[[ValidationError], tuple[str, str]]] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "minimum": _bound("at least"),
    "maximum": _bound("at most"),
    "minLength": _bound("at least", "character"),
    "maxLength": _bound("at most", "character"),
    "minItems": _bound("at least", "item"),
    "maxItems": _bound("at most", "item"),
    "minProperties": _bound("at least", "field"),
    "maxProperties": _bound("at most", "field"),
    "uniqueItems": _unique,
}


def _described(value: Any) -> str:
    if value is None:
        return "null (an empty value)"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    noun = "the string" if isinstance(value, str) else "" if isinstance(value, bool) else "the number"
    return f"{noun} {_shown(value)}".strip()


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - a line of a report
