from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.rules import mutation
from tests.rules.mutation import MutationError, patched

BODY: dict[str, Any] = {
    "containers": [
        {"name": "sidecar"},
        {"name": "engine", "args": ["--port", "8000", "--seed=1"], "limits": {"nvidia.com/gpu": 1}},
    ],
    "script": "a = 1\nb = 2\n",
}


def engine(operation: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = patched(BODY, [operation])["containers"][1]
    return found


def test_element_is_chosen_by_the_value_of_a_key() -> None:
    assert "args" not in engine({"op": "remove", "path": "containers/[name=engine]/args"})


def test_element_is_chosen_by_its_text_and_the_one_after_it() -> None:
    path = "containers/[name=eng*]/args/[=--port]+1"
    assert engine({"op": "replace", "path": path, "value": "9"})["args"] == ["--port", "9", "--seed=1"]


def test_element_is_chosen_by_its_beginning() -> None:
    assert engine({"op": "remove", "path": "/containers/1/args/[=--seed=*]"})["args"] == ["--port", "8000"]


def test_slash_inside_a_key_is_escaped() -> None:
    assert engine({"op": "remove", "path": "containers/[name=engine]/limits/nvidia.com~1gpu"})["limits"] == {}


def test_dash_appends() -> None:
    operation = {"op": "add", "path": "containers/[name=engine]/args/-", "value": "--x"}
    assert engine(operation)["args"][-1] == "--x"


def test_substitute_changes_text_inside_a_string() -> None:
    changed = patched(BODY, [{"op": "substitute", "path": "script", "find": "b = 2\n", "with": ""}])
    assert changed["script"] == "a = 1\n"


def test_the_original_is_left_alone() -> None:
    engine({"op": "remove", "path": "containers/[name=engine]/args"})
    assert "args" in BODY["containers"][1]


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "containers/[name=missing]/args"},
        {"op": "remove", "path": "containers/[name=engine]/nothing"},
        {"op": "remove", "path": "script/[name=engine]"},
        {"op": "substitute", "path": "script", "find": "c", "with": ""},
        {"op": "replace", "path": "containers/9", "value": 1},
    ],
    ids=str,
)
def test_an_operation_that_changes_nothing_is_an_error(operation: dict[str, Any]) -> None:
    with pytest.raises(MutationError):
        patched(BODY, [operation])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "preset: no-such-preset\nselect: {kind: A}\ndrop: true\n",
        "preset: platform-eks\n",
        "preset: platform-eks\nselect: {kind: A}\n",
        "preset: platform-eks\nselect: {name: a}\ndrop: true\n",
        "preset: platform-eks\nselct: {kind: A}\n",
        "a: [",
    ],
)
def test_a_file_that_breaks_the_format_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mutation.yaml"
    path.write_text(text)
    with pytest.raises(MutationError):
        mutation.read(path)
