"""Custom resources: from the structural schema of their definition to closed draft-4 JSON schemas.

What the API server would silently prune is refused; what it keeps or coerces is accepted. CEL rules
(`x-kubernetes-validations`) have no counterpart: only an API server checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ci.generate.vocabulary import (
    DATE_TIME,
    INT32,
    INT_OR_STRING,
    IPV4,
    IPV6,
    QUANTITY,
    Schema,
    list_keywords,
    nullable,
)

_KEPT = frozenset(
    {
        *("enum", "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maxLength", "maxProperties"),
        *("maximum", "minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern"),
        *("type", "uniqueItems"),
    }
)
_DROPPED = frozenset(
    {
        *("default", "description", "example", "externalDocs", "nullable", "title"),
        *("x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-map-type"),
        "x-kubernetes-validations",
    }
)
_CONVERTED = frozenset(
    {
        *("additionalProperties", "allOf", "anyOf", "format", "items", "not", "oneOf", "properties"),
        *("required", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"),
    }
)
# What controller-gen writes for a quantity.
_QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_FORMATS: Mapping[str, Schema] = {
    "date-time": DATE_TIME,
    "double": {},
    "float": {},
    "int32": INT32,
    "int64": {},  # its ends are not exact in the double that kubeconform reads
    "ipv4": IPV4,
    "ipv6": IPV6,
}


def convert(source: Mapping[str, Any]) -> Schema:
    """The closed JSON schema of one node of a structural schema, and of all below it.

    Raises ValueError at a keyword or format that this converter does not know, so that nothing is
    lost unnoticed when a definition is updated.
    """
    unknown = set(source) - _KEPT - _DROPPED - _CONVERTED
    if unknown:
        message = f"unknown keywords: {', '.join(sorted(unknown))}"
        raise ValueError(message)
    # A range of the source's own lies within that of its format.
    result = _format(source) | {key: source[key] for key in sorted(_KEPT & source.keys())}
    if source.get("x-kubernetes-int-or-string"):
        result |= INT_OR_STRING
        if source.get("pattern") == _QUANTITY_PATTERN:
            result["title"] = QUANTITY["title"]
    else:
        result |= _junctors(source)
    if "items" in source:
        result["items"] = convert(source["items"])
        result |= list_keywords(source, source["items"].get("properties", {}))
    if source.get("type") == "object":
        result |= _object(source)
    return result


def _object(source: Mapping[str, Any]) -> Schema:
    properties: Mapping[str, Any] = source.get("properties", {})
    # The server fills in defaults, and drops nulls of what is not nullable, before it validates.
    required = {name for name in source.get("required", ()) if "default" not in properties.get(name, {})}
    result: Schema = {}
    if properties:
        result["properties"] = {
            name: convert(value) if name in required and not value.get("nullable") else nullable(convert(value))
            for name, value in properties.items()
        }
    if required:
        result["required"] = sorted(required)
    if "additionalProperties" in source:
        values = source["additionalProperties"]
        result["additionalProperties"] = values if isinstance(values, bool) else nullable(convert(values))
    elif not source.get("x-kubernetes-preserve-unknown-fields"):
        result["additionalProperties"] = False
    return result


def _junctors(source: Mapping[str, Any]) -> Schema:
    """allOf, anyOf, oneOf and not: they restrict values and neither allow nor close anything."""
    result: Schema = {
        key: [_restriction(each) for each in source[key]] for key in ("allOf", "anyOf", "oneOf") if key in source
    }
    if "not" in source:
        result["not"] = _restriction(source["not"])
    return result


def _restriction(source: Mapping[str, Any]) -> Schema:
    result = _format(source) | {key: source[key] for key in sorted(_KEPT & source.keys())} | _junctors(source)
    if "properties" in source:
        result["properties"] = {name: _restriction(value) for name, value in source["properties"].items()}
    if "required" in source:
        result["required"] = source["required"]
    return result


def _format(source: Mapping[str, Any]) -> Schema:
    name = source.get("format")
    if name is None:
        return {}
    if name not in _FORMATS:
        message = f"unknown format: {name}"
        raise ValueError(message)
    return dict(_FORMATS[name])
