"""A schema that refuses nothing proves nothing: each accepts its good object and refuses every spoiled one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from chartproof.schema import Outcome, SchemaStore, Verdict

if TYPE_CHECKING:
    from tests.schema.conftest import Spoiled

Judge = Callable[[Sequence[dict[str, Any]]], dict[str, list[Verdict]]]

FAULTS = ("unknown field", "wrong type", "missing required field")
SCHEMAS = {f"{path.parent.name}/{path.stem}": path for path in SchemaStore().files.values()}


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
