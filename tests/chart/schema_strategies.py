"""Hypothesis strategies for the part of JSON Schema that the chart's values schema uses.

Written here because the library for it (hypothesis-jsonschema 0.23) reaches into Hypothesis' internals and
breaks with the current release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

Schema = Mapping[str, Any]

#: Text that YAML can hold as it is: no control characters.
TEXT = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co", "Zl", "Zp"))

#: Keywords understood here; a new one in the schema fails loudly instead of drawing the wrong values.
UNDERSTOOD = {
    *("type", "enum", "const", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum"),
    *("items", "minItems", "maxItems", "uniqueItems", "properties", "required"),
    *("additionalProperties", "propertyNames", "maxProperties", "minProperties", "$ref", "description", "definitions"),
}


def values_of(schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    """Values that the schema accepts; `root` is the document that `$ref`s point into."""
    unknown = set(schema) - UNDERSTOOD
    if unknown:
        message = f"the strategies do not know the keywords {sorted(unknown)}"
        raise NotImplementedError(message)
    if "$ref" in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return values_of({**target, **{key: value for key, value in schema.items() if key != "$ref"}}, root)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    types = schema.get("type", ["string"])
    return st.one_of(*(_of_type(each, schema, root) for each in ([types] if isinstance(types, str) else types)))


def _of_type(kind: str, schema: Schema, root: Schema) -> st.SearchStrategy[Any]:
    makers: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
        "null": st.none,
        "boolean": st.booleans,
        "integer": lambda: st.integers(schema.get("minimum"), schema.get("maximum")),
        "number": lambda: _numbers(schema),
        "string": lambda: _strings(schema),
        "array": lambda: _arrays(schema, root),
        "object": lambda: _objects(schema, root),
    }
    return makers[kind]()


def _numbers(schema: Schema) -> st.SearchStrategy[float]:
    return st.floats(
        schema.get("exclusiveMinimum", schema.get("minimum")),
        schema.get("maximum"),
        exclude_min="exclusiveMinimum" in schema,
        allow_nan=False,
        allow_infinity=False,
    )


def _arrays(schema: Schema, root: Schema) -> st.SearchStrategy[list[Any]]:
    shortest = schema.get("minItems", 0)
    return st.lists(
        values_of(schema.get("items", {"type": "string"}), root),
        min_size=shortest,
        max_size=min(schema.get("maxItems", shortest + 4), shortest + 4),
        unique_by=repr if schema.get("uniqueItems") else None,
    )


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        pattern: str = schema["pattern"]
        shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 10_000)
        drawn = st.from_regex(pattern, fullmatch=True)
        return drawn.filter(lambda text: shortest <= len(text) <= longest and "\n" not in text)
    return st.text(TEXT, min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 40))


def _objects(schema: Schema, root: Schema) -> st.SearchStrategy[dict[str, Any]]:
    properties = schema.get("properties", {})
    required = set(schema.get("required", ()))
    named = st.fixed_dictionaries(
        {key: values_of(below, root) for key, below in properties.items() if key in required},
        optional={key: values_of(below, root) for key, below in properties.items() if key not in required},
    )
    additional = schema.get("additionalProperties", True)
    if additional is False:
        return named
    names = values_of({"type": "string", **schema.get("propertyNames", {})}, root)
    more = values_of(additional, root) if isinstance(additional, Mapping) else st.text(TEXT, max_size=20)
    most = min(schema.get("maxProperties", 3), 3)
    return st.builds(lambda a, b: {**b, **a}, named, st.dictionaries(names, more, max_size=most))
