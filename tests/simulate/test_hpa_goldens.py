"""Our controller against recordings of the real one; needs no Go."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from chartproof.toolchain import pins
from tests.simulate import hpa_traces
from tests.simulate.hpa_cases import CASES


def golden(name: str) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads((hpa_traces.GOLDENS / f"{name}.json").read_text(encoding="utf-8"))
    return recorded


def test_there_is_a_golden_file_for_every_case_and_no_other() -> None:
    assert {each.stem for each in hpa_traces.GOLDENS.glob("*.json")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_we_do_what_the_real_controller_did(name: str) -> None:
    recorded = golden(name)
    trace = {**recorded["trace"], "ticks": [tick for tick, _ in recorded["ticks"]]}
    assert trace == CASES[name].trace, "make the golden files again: python -m tests.simulate.hpa_traces"
    assert recorded["kubernetes"] == hpa_traces.version()
    answers = [answer for _, answer in recorded["ticks"]]
    assert hpa_traces.ours(trace) == hpa_traces.theirs(answers, trace)


@pytest.mark.parametrize(
    ("name", "replicas"),
    [
        ("one-to-ten", [10, 10, 10]),
        ("two-to-twenty", [20, 100, 100]),
        ("one-to-the-maximum", [10, 16, 16]),
        ("default-behavior-to-sixteen", [4, 8, 16, 16, 16, 16]),
        ("empty-behavior-to-sixteen", [5, 10, 16, 16, 16, 16]),
    ],
)
def test_the_real_controller_reaches(name: str, replicas: list[int]) -> None:
    """What the documents promise, read off the recordings."""
    assert [answer["replicas"] for _, answer in golden(name)["ticks"]] == replicas


def test_the_oracle_is_of_the_kubernetes_that_the_embedded_cluster_runs() -> None:
    modules = pins.modules()
    assert modules["hpa-oracle"].version == modules["kubernetes"].version
    text = (modules["hpa-oracle"].directory / "go.mod").read_text(encoding="utf-8")
    versions = set(re.findall(r"^\tk8s\.io/\S+ => k8s\.io/\S+ v0\.(\S+)$", text, re.MULTILINE))
    assert {f"1.{each}" for each in versions} == {modules["kubernetes"].version}
