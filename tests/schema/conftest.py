from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from chartproof import kubernetes_yaml
from chartproof.release import Document, Release
from chartproof.schema import Engine, JsonSchemaEngine, KubeconformEngine, Payload, SchemaStore, Verdict

INSTANCES = Path(__file__).parent / "instances"


@pytest.fixture(scope="session")
def store() -> SchemaStore:
    return SchemaStore()


@pytest.fixture(scope="session")
def engines(store: SchemaStore) -> dict[str, Engine]:
    both: tuple[Engine, ...] = (JsonSchemaEngine(store), KubeconformEngine(store))
    return {each.name: each for each in both}


@pytest.fixture(scope="session")
def judge(engines: dict[str, Engine]) -> Callable[[Sequence[dict[str, Any]]], dict[str, list[Verdict]]]:
    """Every engine's verdicts on bodies."""

    def judged(bodies: Sequence[dict[str, Any]]) -> dict[str, list[Verdict]]:
        payloads = [Payload.of(Document(each)) for each in bodies]
        return {name: engine.validate(payloads) for name, engine in engines.items()}

    return judged


@pytest.fixture(scope="session")
def instances(store: SchemaStore) -> dict[str, dict[str, Any]]:
    """The good object of each schema, by names such as `apps/deployment_v1`."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(INSTANCES.glob("*.yaml")):
        for _, body in kubernetes_yaml.documents(path.read_text(encoding="utf-8")):
            schema = store.find(body["apiVersion"], body["kind"])
            assert schema is not None, f"{path.name}: no schema of {body['apiVersion']} {body['kind']}"
            assert path.stem == body["kind"].lower(), f"{path.name} holds a {body['kind']}"
            name = f"{schema.parent.name}/{schema.stem}"
            assert name not in found, f"{path.name}: a second {name}"
            found[name] = body
    return found


@pytest.fixture
def good(instances: dict[str, dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """A copy of one good object, to change."""
    return lambda name: copy.deepcopy(instances[name])


@pytest.fixture(scope="session")
def release() -> Callable[..., Release]:
    """A release of bodies."""

    def made(*bodies: dict[str, Any], name: str = "release") -> Release:
        documents = tuple(Document(body, f"{name}.yaml:{index}", index) for index, body in enumerate(bodies))
        return Release(name, documents, origin=f"{name}.yaml")

    return made
