from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ci.generate import openapi, structural
from ci.generate.compaction import share
from ci.generate.openapi import Kind

SCALERS = json.loads((Path(__file__).parents[2] / "src/chartproof/data/keda_scalers.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"type": "string", "x-kubernetes-embedded-resource": True}, "x-kubernetes-embedded-resource"),
        ({"type": "object", "properties": {"a": {"type": "string", "format": "cidr"}}}, "unknown format: cidr"),
        ({"type": "array", "items": {"patternProperties": {}}}, "patternProperties"),
    ],
)
def test_what_the_converter_does_not_know_stops_it(source: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        structural.convert(source)


def test_objects_are_closed_unless_unknown_fields_are_preserved() -> None:
    field = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert structural.convert(field)["additionalProperties"] is False
    assert "additionalProperties" not in structural.convert(field | {"x-kubernetes-preserve-unknown-fields": True})
    values = structural.convert({"type": "object", "additionalProperties": {"type": "string"}})
    assert values["additionalProperties"] == {"type": ["string", "null"]}


def test_an_object_without_any_field_takes_none() -> None:
    assert structural.convert({"type": "object"}) == {"type": "object", "additionalProperties": False}


def test_what_has_a_default_is_not_required() -> None:
    source = {
        "type": "object",
        "required": ["filled", "given"],
        "properties": {"filled": {"type": "string", "default": "x"}, "given": {"type": "string"}},
    }
    converted = structural.convert(source)
    assert converted["required"] == ["given"]
    assert converted["properties"]["filled"]["type"] == ["string", "null"]
    assert converted["properties"]["given"]["type"] == "string"


def test_a_required_field_may_be_null_where_the_definition_says_so() -> None:
    source = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "nullable": True}}}
    assert structural.convert(source)["properties"]["a"]["type"] == ["string", "null"]


def test_a_range_of_its_own_is_kept_within_that_of_the_format() -> None:
    converted = structural.convert({"type": "integer", "format": "int32", "minimum": 1})
    assert (converted["minimum"], converted["maximum"]) == (1, 2**31 - 1)


def test_alternatives_restrict_and_do_not_close() -> None:
    source = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "oneOf": [{"required": ["a"]}, {"properties": {"b": {"enum": ["x"]}}}],
    }
    assert structural.convert(source)["oneOf"] == source["oneOf"]


def test_shared_parts_are_written_once_and_mean_the_same() -> None:
    probe = {"type": "object", "properties": {f"field{number}": {"type": "string"} for number in range(8)}}
    whole = {"type": "object", "properties": {"liveness": probe, "readiness": probe, "other": {"type": "string"}}}
    shared = share(whole)
    assert shared["definitions"] == {"liveness": probe}
    reference = {"$ref": "#/definitions/liveness"}
    assert shared["properties"] == {"liveness": reference, "readiness": reference, "other": {"type": "string"}}


def test_only_kinds_that_are_stored_count() -> None:
    created: dict[str, Any] = {
        "x-kubernetes-action": "post",
        "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": "Pod"},
    }
    review = {**created, "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": "Review"}}
    models = {
        f"example.{kind}": {"x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": kind}]}
        for kind in ("Pod", "Review", "PodList")
    }
    document = {
        "paths": {"/pods": {"get": {}, "post": created}, "/reviews": {"post": review}},
        "components": {"schemas": models},
    }
    assert openapi.stored_kinds(document) == {Kind("", "v1", "Pod"): "example.Pod"}


def test_values_of_enumerations_are_read_from_the_generated_code() -> None:
    code = (
        "func schema_k8sio_api_core_v1_Container(ref common.ReferenceCallback) common.OpenAPIDefinition {\n"
        '\t\t\t\t\t"imagePullPolicy": {\n'
        '\t\t\t\t\t\t\tEnum:        []interface{}{"Always", "Never"},\n'
        '\t\t\t\t\t"other": {\n'
    )
    name = openapi.go_function("io.k8s.api.core.v1.Container")
    assert openapi.enumerations(code) == {(name, "imagePullPolicy"): ["Always", "Never"]}


def test_scalers_say_which_keys_they_know_and_need() -> None:
    prometheus = SCALERS["scalers"]["prometheus"]
    required = {name for name, each in prometheus.items() if each["required"]}
    assert required == {"serverAddress", "query", "threshold"}
    assert prometheus["ignoreNullValues"] == {"required": False, "readFrom": ["metadata"], "default": "true"}
    assert "threshhold" not in prometheus
