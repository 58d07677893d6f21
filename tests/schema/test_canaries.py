"""A schema that refuses nothing proves nothing: each accepts its good object and refuses every spoiled one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from chartproof.schema import Outcome, SchemaStore, Verdict

Judge = Callable[[Sequence[dict[str, Any]]], dict[str, list[Verdict]]]
Path = tuple[str | int, ...]

FAULTS = ("unknown field", "wrong type", "missing required field")
SCHEMAS = {f"{path.parent.name}/{path.stem}": path for path in SchemaStore().files.values()}


@dataclass(frozen=True)
class Spoiled:
    """A good object with one fault at one place."""

    schema: str
    fault: str
    path: Path
    body: dict[str, Any]


@dataclass(frozen=True)
class Spoiler:
    """Finds every place of a good object where the schema can be broken."""

    name: str
    schema: dict[str, Any]
    body: dict[str, Any]

    def all(self) -> Iterator[Spoiled]:
        yield from self._below(self.schema, self.body, ())

    def _below(self, part: dict[str, Any], value: Any, path: Path) -> Iterator[Spoiled]:
        while isinstance(part.get("$ref"), str):
            part = self.schema["definitions"][part["$ref"].rpartition("/")[2]]
        if path and value is not None and part.keys() & {"type", "enum"}:
            yield self._with("wrong type", path, "a string" if isinstance(value, dict | list) else {"a": "mapping"})
        if isinstance(value, dict):
            yield from self._fields(part, value, path)
        elif isinstance(value, list):
            for index, child in enumerate(value):
                yield from self._below(part.get("items", {}), child, (*path, index))

    def _fields(self, part: dict[str, Any], value: dict[str, Any], path: Path) -> Iterator[Spoiled]:
        if part.get("additionalProperties") is False and "patternProperties" not in part:
            yield self._with("unknown field", (*path, "notAField"), "x")
        for key in part.get("required", ()):
            yield self._without((*path, key))
            yield self._with("missing required field", (*path, key), None)
        others = part.get("additionalProperties")
        for key, child in value.items():
            inner = part.get("properties", {}).get(key, others)
            yield from self._below(inner if isinstance(inner, dict) else {}, child, (*path, key))

    def _with(self, fault: str, path: Path, value: Any) -> Spoiled:
        body, place = self._copy(path)
        place[path[-1]] = value
        return Spoiled(self.name, fault, path, body)

    def _without(self, path: Path) -> Spoiled:
        body, place = self._copy(path)
        del place[path[-1]]
        return Spoiled(self.name, "missing required field", path, body)

    def _copy(self, path: Path) -> tuple[dict[str, Any], Any]:
        body: Any = copy.deepcopy(self.body)
        place = body
        for step in path[:-1]:
            place = place[step]
        return body, place


@pytest.fixture(scope="module")
def spoiled(instances: dict[str, dict[str, Any]], store: SchemaStore) -> list[Spoiled]:
    return [each for name, body in instances.items() for each in Spoiler(name, store.load(SCHEMAS[name]), body).all()]


@pytest.fixture(scope="module")
def good_verdicts(instances: dict[str, dict[str, Any]], judge: Judge) -> dict[str, dict[str, Verdict]]:
    judged = judge(list(instances.values()))
    return {engine: dict(zip(instances, verdicts, strict=True)) for engine, verdicts in judged.items()}


@pytest.fixture(scope="module")
def spoiled_verdicts(spoiled: list[Spoiled], judge: Judge) -> dict[str, list[Verdict]]:
    return judge([each.body for each in spoiled])


def test_every_schema_has_a_good_instance(instances: dict[str, dict[str, Any]]) -> None:
    assert sorted(instances) == sorted(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_engine_accepts_the_good_instance(name: str, good_verdicts: dict[str, dict[str, Verdict]]) -> None:
    for engine, verdicts in good_verdicts.items():
        assert verdicts[name] == Verdict(Outcome.VALID), engine


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_fault_is_tried_on_every_schema(name: str, spoiled: list[Spoiled]) -> None:
    assert {each.fault for each in spoiled if each.schema == name} == set(FAULTS)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_every_engine_refuses_every_spoiled_instance(
    name: str, fault: str, spoiled: list[Spoiled], spoiled_verdicts: dict[str, list[Verdict]]
) -> None:
    for engine, verdicts in spoiled_verdicts.items():
        accepted = [
            each.path
            for each, verdict in zip(spoiled, verdicts, strict=True)
            if (each.schema, each.fault) == (name, fault) and verdict.outcome is Outcome.VALID
        ]
        assert accepted == [], engine
