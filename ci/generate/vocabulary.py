"""Pieces of JSON schema that both sources share.

Nothing here uses `format`: whether and how a format is checked differs between schema engines, a
pattern or a range does not. A `title` says in words what a pattern wants. Draft 4, because OpenAPI
3.0 shares its `exclusiveMinimum`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-04/schema#"

INT32: Schema = {"minimum": -(2**31), "maximum": 2**31 - 1}
# Go decodes base64 that is wrapped into lines, too.
BASE64: Schema = {"title": "base64", "pattern": "^[A-Za-z0-9+/\\r\\n]*={0,2}[\\r\\n]*$"}
DATE_TIME: Schema = {
    "title": "a time such as 2026-01-31T08:00:00Z",
    "type": "string",
    # RFC 3339, as Go's time.Parse reads it.
    "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
    "(\\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
}
QUANTITY: Schema = {
    "title": "a quantity such as 500m, 4, 16Gi",
    "type": ["string", "number"],
    # https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
    "pattern": "^\\s*[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?\\s*$",
}
INT_OR_STRING: Schema = {"type": ["integer", "string"]}
IPV4: Schema = {"pattern": "^([0-9]{1,3}\\.){3}[0-9]{1,3}$"}
IPV6: Schema = {"pattern": "^[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*$"}

UNIQUE_BY = "uniqueBy"
"""Our own keyword on lists: the fields that together name an item, each with its default or null.

No engine knows it; `chartproof.schema.unique` does.
"""

_DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
NAMES: dict[str, Schema] = {
    "subdomain": {
        "title": "a name of lower-case letters, digits, '-' and '.', at most 253",
        "maxLength": 253,
        "pattern": f"^{_DNS_LABEL}(\\.{_DNS_LABEL})*$",
    },
    "label": {
        "title": "a name of lower-case letters, digits and '-', at most 63",
        "maxLength": 63,
        "pattern": f"^{_DNS_LABEL}$",
    },
    # Anything that can be one segment of a URL.
    "path-segment": {
        "title": "a name without '/' and '%'",
        "minLength": 1,
        "pattern": "^([^/%.]|\\.[^/%.]|\\.\\.[^/%])[^/%]*$",
    },
}


def nullable(schema: Schema) -> Schema:
    """The same schema, also satisfied by null."""
    if "type" not in schema:
        return schema
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    result = schema | {"type": [*kinds, "null"] if "null" not in kinds else kinds}
    if "enum" in schema and None not in schema["enum"]:
        result["enum"] = [*schema["enum"], None]
    return result


def list_keywords(source: Mapping[str, Any], item_properties: Mapping[str, Any]) -> Schema:
    """What `x-kubernetes-list-type` says of a list whose items have these properties."""
    kind = source.get("x-kubernetes-list-type")
    if kind == "set":
        return {"uniqueItems": True}
    if kind == "map":
        keys = source["x-kubernetes-list-map-keys"]
        return {UNIQUE_BY: {key: item_properties.get(key, {}).get("default") for key in keys}}
    return {}
