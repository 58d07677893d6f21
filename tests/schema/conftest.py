from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chartproof import kubernetes_yaml
from chartproof.release import Document, Release
from chartproof.schema import Engine, JsonSchemaEngine, KubeconformEngine, Payload, SchemaStore, Verdict, validate

Place = tuple[str | int, ...]

INSTANCES = Path(__file__).parent / "instances"


@dataclass(frozen=True)
class Spoiled:
    """A good object with one fault at one place."""

    schema: str
    fault: str
    path: Place
    body: dict[str, Any]


@dataclass(frozen=True)
class Spoiler:
    """Finds every place of a good object where the schema can be broken."""

    name: str
    schema: dict[str, Any]
    body: dict[str, Any]

    def all(self) -> Iterator[Spoiled]:
        yield from self._below(self.schema, self.body, ())

    def _below(self, part: dict[str, Any], value: Any, path: Place) -> Iterator[Spoiled]:
        while isinstance(part.get("$ref"), str):
            part = self.schema["definitions"][part["$ref"].rpartition("/")[2]]
        if path and value is not None and part.keys() & {"type", "enum"}:
            yield self._with("wrong type", path, "a string" if isinstance(value, dict | list) else {"a": "mapping"})
        if isinstance(value, dict):
            yield from self._fields(part, value, path)
        elif isinstance(value, list):
            for index, child in enumerate(value):
                yield from self._below(part.get("items", {}), child, (*path, index))

    def _fields(self, part: dict[str, Any], value: dict[str, Any], path: Place) -> Iterator[Spoiled]:
        if part.get("additionalProperties") is False and "patternProperties" not in part:
            yield self._with("unknown field", (*path, "notAField"), "x")
        for key in part.get("required", ()):
            yield self._without((*path, key))
            yield self._with("missing required field", (*path, key), None)
        others = part.get("additionalProperties")
        for key, child in value.items():
            inner = part.get("properties", {}).get(key, others)
            yield from self._below(inner if isinstance(inner, dict) else {}, child, (*path, key))

    def _with(self, fault: str, path: Place, value: Any) -> Spoiled:
        body, place = self._copy(path)
        place[path[-1]] = value
        return Spoiled(self.name, fault, path, body)

    def _without(self, path: Place) -> Spoiled:
        body, place = self._copy(path)
        del place[path[-1]]
        return Spoiled(self.name, "missing required field", path, body)

    def _copy(self, path: Place) -> tuple[dict[str, Any], Any]:
        body: Any = copy.deepcopy(self.body)
        place = body
        for step in path[:-1]:
            place = place[step]
        return body, place


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
        return {name: validate(engine, payloads) for name, engine in engines.items()}

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


@pytest.fixture(scope="session")
def spoiled(instances: dict[str, dict[str, Any]], store: SchemaStore) -> list[Spoiled]:
    """The good objects, each with one fault at every place where there can be one."""
    schemas = {f"{path.parent.name}/{path.stem}": store.load(path) for path in store.files.values()}
    return [each for name, body in instances.items() for each in Spoiler(name, schemas[name], body).all()]


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


def read(name: str) -> Any:
    """The one document of a YAML file beside the tests."""
    ((_, content),) = kubernetes_yaml.documents((INSTANCES.parent / name).read_text(encoding="utf-8"))
    return content


def changed(body: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """A copy of `body` in which `set` is done at `at`."""
    copied = copy.deepcopy(body)
    *above, last = change["at"]
    place: Any = copied
    for step in above:
        place = place[step]
    place[last] = change["set"]
    return copied


@pytest.fixture(scope="session")
def changes(instances: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The cases of meaning.yaml, each with the changed object as `body` and whether it is `accepted`."""
    return {
        case: {**change, "body": changed(instances[change["schema"]], change), "accepted": kind == "accepted"}
        for kind, cases in read("meaning.yaml").items()
        for case, change in cases.items()
    }


@pytest.fixture(scope="session")
def repetitions(instances: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The cases of unique.yaml, each with the changed object as `body`."""
    return {
        case: {**change, "body": changed(instances[change["schema"]], change)}
        for case, change in read("unique.yaml").items()
    }


@pytest.fixture(scope="session")
def messages(instances: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases of messages.yaml, each with the changed object as `body`."""
    return [{**case, "body": changed(instances[case["schema"]], case)} for case in read("messages.yaml")]
