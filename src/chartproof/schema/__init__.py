"""Validation of every document against the schemas in `schemas/`, by two engines that must agree."""

from __future__ import annotations

from chartproof.schema.check import SchemaCheck, check_schemas
from chartproof.schema.engine import Engine, Finish, Outcome, Verdict, Violation, validate
from chartproof.schema.json_schema import JsonSchemaEngine, preload
from chartproof.schema.kubeconform import KubeconformEngine
from chartproof.schema.payload import Payload
from chartproof.schema.store import SchemaStore

__all__ = [
    "Engine",
    "Finish",
    "JsonSchemaEngine",
    "KubeconformEngine",
    "Outcome",
    "Payload",
    "SchemaCheck",
    "SchemaStore",
    "Verdict",
    "Violation",
    "check_schemas",
    "preload",
    "validate",
]
