"""Whatever a manifest holds, rules read fields of the type that Kubernetes gives them."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chartproof import manifests
from chartproof.release import Document, Release
from chartproof.rules import check_release
from chartproof.shape import well_shaped

CORPUS = sorted((Path(__file__).parent / "rules" / "corpus").glob("*.yaml"))
JUNK: tuple[Any, ...] = (None, "", "text", 3, -1, True, 1.5, [], {}, [None], ["x"], {"a": None}, "$(X)", [[]], "8000")


def release(*bodies: dict[str, Any]) -> Release:
    return Release("r", tuple(Document(body, "", i) for i, body in enumerate(bodies)))


def test_a_well_formed_release_is_returned_as_it_is() -> None:
    for path in CORPUS:
        read = manifests.read_files([path], name=path.stem)
        assert well_shaped(read) is read


@pytest.mark.parametrize(
    ("field", "value", "shaped"),
    [
        ("containers", "nginx", []),
        ("containers", {"name": "nginx"}, []),
        ("containers", [None, {"name": "a"}], [{}, {"name": "a"}]),
        ("labels", "app", {}),
        ("args", "--port 8000", []),
        ("name", {"a": 1}, ""),
        ("rules", {"a": 1}, {"a": 1}),
        ("resources", ["pods"], ["pods"]),
        ("ports", None, None),
    ],
)
def test_a_field_of_the_wrong_type_becomes_an_empty_one(field: str, value: Any, shaped: Any) -> None:
    body = well_shaped(release({"spec": {"template": {field: value}}})).documents[0].body
    assert body["spec"]["template"][field] == shaped


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    steps: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from places(inner, (*path, step))


def spoiled(bodies: list[Any], draw: random.Random) -> list[Any]:
    bodies = copy.deepcopy(bodies)
    for _ in range(draw.choice((1, 1, 2, 3))):
        body = draw.choice(bodies)
        path = draw.choice(list(places(body)))
        holder = body
        for step in path[:-1]:
            holder = holder[step]
        if draw.random() < 0.2:
            del holder[path[-1]]
        else:
            holder[path[-1]] = copy.deepcopy(draw.choice(JUNK))
        if not body:
            body["kind"] = "Pod"
    return bodies


@pytest.mark.parametrize("seed", range(40))
def test_no_rule_trips_over_a_spoiled_deployment(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311  (a repeatable choice, no secret)
    path = draw.choice(CORPUS)
    bodies = [dict(each.body) for each in manifests.read_files([path], name=path.stem).documents]
    check_release(release(*spoiled(bodies, draw)))
