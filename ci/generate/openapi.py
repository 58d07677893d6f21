"""Kubernetes' own kinds: from the OpenAPI of its sources to closed draft-4 JSON schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ci.generate.vocabulary import (
    BASE64,
    DATE_TIME,
    INT32,
    INT_OR_STRING,
    QUANTITY,
    Schema,
    list_keywords,
    nullable,
)

_REFERENCE = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
OBJECT_META = f"{_META}.ObjectMeta"

_SCALARS: Mapping[str, Schema] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": QUANTITY,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": INT_OR_STRING,
    f"{_META}.Time": DATE_TIME,
    f"{_META}.MicroTime": DATE_TIME,
}
"""Types whose Go code reads something else than OpenAPI can say."""

_KEY = (
    r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE: Schema = {
    "title": "a label value: letters, digits, '-', '_', '.', at most 63",
    "type": ["string", "null"],
    "maxLength": 63,
    "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
}
_ANNOTATION_VALUE: Schema = {"type": ["string", "null"]}


@dataclass(frozen=True, slots=True)
class Kind:
    """An API kind that the server stores."""

    group: str
    version: str
    kind: str


@dataclass(slots=True)
class Converter:
    """Turns the models of one OpenAPI document into `definitions` of one JSON schema.

    `enumerations` has the values that the published OpenAPI leaves out; see `enumerations()`.
    """

    models: Mapping[str, Any]
    enumerations: Mapping[tuple[str, str], list[str]]
    definitions: dict[str, Schema] = field(default_factory=dict)

    def whole(self, model: str) -> Schema:
        """The closed schema of a top-level object, without its definitions."""
        return self._object(model, self.models[model])

    def reference(self, model: str, *, null: bool) -> Schema:
        """A `$ref` to the definition of `model`, made on first use; scalar types come inline."""
        if model in _SCALARS:
            return nullable(_SCALARS[model]) if null else dict(_SCALARS[model])
        name = model.rpartition(".")[2] + ("OrNull" if null else "")
        if name not in self.definitions:
            self.definitions[name] = {}  # before the recursion: JSONSchemaProps contains itself
            definition = self._object(model, self.models[model])
            self.definitions[name] = nullable(definition) if null else definition
        return {"$ref": f"#/definitions/{name}"}

    def _object(self, model: str, source: Mapping[str, Any]) -> Schema:
        properties = source.get("properties")
        if not properties:
            # RawExtension, JSON and the like: anything goes.
            return {key: source[key] for key in ("type",) if key in source}
        required = set(source.get("required", ())) | set(self._implied(properties))
        result: Schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: self._property(model, name, value, null=name not in required)
                for name, value in properties.items()
            },
        }
        if required:
            result["required"] = sorted(required)
        if model == OBJECT_META:
            result["properties"]["labels"] = _map_of(_LABEL_VALUE)
            result["properties"]["annotations"] = _map_of(_ANNOTATION_VALUE)
        return result

    def _implied(self, properties: Mapping[str, Any]) -> Iterator[str]:
        """`spec`, where leaving it out means an empty one that lacks what a spec must have."""
        spec = properties.get("spec", {})
        target = _target(spec)
        if target and spec.get("default") == {} and self.models[target].get("required"):
            yield "spec"

    def _property(self, model: str, name: str, source: Mapping[str, Any], *, null: bool) -> Schema:
        converted = self._value(source, null=null)
        values = self.enumerations.get((go_function(model), name))
        if values is None:
            return converted
        if "items" in converted:
            return converted | {"items": converted["items"] | {"enum": values}}
        # An optional field reads the empty string as "not set".
        return converted | {"enum": [*sorted({*values, ""}), None] if null else values}

    def _value(self, source: Mapping[str, Any], *, null: bool) -> Schema:
        target = _target(source)
        if target:
            return self.reference(target, null=null)
        kind = source.get("type")
        if kind is None:
            return {}
        result: Schema = {"type": kind}
        if kind == "array":
            result["items"] = self._value(source["items"], null=False)
            model = self.models.get(_target(source["items"]), {})
            result |= list_keywords(source, model.get("properties", {}))
        elif kind == "object" and isinstance(source.get("additionalProperties"), Mapping):
            # Go reads a null in a map of strings as the empty string.
            result["additionalProperties"] = self._value(source["additionalProperties"], null=True)
        elif source.get("format") == "int32":
            result |= INT32
        elif source.get("format") == "byte":
            result |= BASE64
        elif source.get("format") == "date-time":
            result |= DATE_TIME
        return nullable(result) if null else result


def stored_kinds(document: Mapping[str, Any]) -> dict[Kind, str]:
    """The kinds of an OpenAPI document that can be created and listed, and the model of each.

    Kinds that can be created but not listed (reviews, bindings) are questions, not objects.
    """
    creatable = set()
    for path, item in document.get("paths", {}).items():
        listable = "get" in item and not path.endswith("}")
        described = item.get("post", {}).get("x-kubernetes-group-version-kind")
        if listable and described and item["post"].get("x-kubernetes-action") == "post":
            creatable.add(Kind(described["group"], described["version"], described["kind"]))
    models = document["components"]["schemas"]
    return {
        kind: name
        for name, model in models.items()
        for described in model.get("x-kubernetes-group-version-kind", ())
        if (kind := Kind(described["group"], described["version"], described["kind"])) in creatable
    }


def enumerations(generated_go: str) -> dict[tuple[str, str], list[str]]:
    """Values of enumerated properties by (name of the Go function that describes the model, property).

    Read from the generated Go code by its layout: one function per model, properties five tabs deep.
    """
    found: dict[tuple[str, str], list[str]] = {}
    function = name = ""
    for line in generated_go.splitlines():
        if match := re.match(r"func (schema_\w+)\(", line):
            function, name = match[1], ""
        elif match := re.match(r'\t{5}"([^"]+)": \{$', line):
            name = match[1]
        elif match := re.match(r"\t+Enum:\s+\[\]interface\{\}\{(.*)\},$", line):
            found[function, name] = re.findall(r'"((?:[^"\\]|\\.)*)"', match[1])
    return found


def go_function(model: str) -> str:
    """The name of the Go function that describes `model` in the generated code."""
    package, _, name = model.rpartition(".")
    parts = package.split(".")
    if package.startswith("io.k8s.api."):
        parts = ["k8sio", *parts[2:]]
    return "_".join(["schema", *parts[-4:], name])


def _target(source: Mapping[str, Any]) -> str:
    """The model that a value refers to, or the empty string."""
    reference: str = source.get("$ref", "")
    for each in source.get("allOf", ()):
        reference = each["$ref"]
    return reference.removeprefix(_REFERENCE)


def _map_of(value: Schema) -> Schema:
    return {
        "type": ["object", "null"],
        "patternProperties": {f"^{_KEY}$": value},
        "additionalProperties": False,
    }
