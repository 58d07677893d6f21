"""The table of policies in docs/simulator.md says what the simulator says now."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import policies
from chartproof.simulate.run import Subject
from ci.generate import policy_table

#: Where the public traces are, by the names of benchmarks/policies.py.
TRACES = os.environ.get("CHARTPROOF_TRACES", "")
#: Rows that take seconds.
QUICK = ("conversation x 1", "conversation x 4", "reasoning x 0.01")


def row(name: str) -> dict[str, Any]:
    (found,) = [each for each in policies.results()["rows"] if each["name"] == name]
    return dict(found)


def test_made_traffic_comes_to_what_it_came_to_when_the_table_was_measured(serverless: Subject) -> None:
    measured = policies.measure("canary", policies.canary_case(serverless))
    assert measured == policies.results()["canary"], (
        "the simulator, the catalog or the preset changed what the policies come to: measure the table again "
        "(python -m benchmarks.policies DIR --write), and make generate"
    )


def test_every_row_is_in_the_table() -> None:
    assert [each["name"] for each in policies.results()["rows"]] == [each.name for each in policies.ROWS]


@pytest.mark.slow
@pytest.mark.skipif(not TRACES, reason="CHARTPROOF_TRACES does not say where the public traces are")
@pytest.mark.parametrize("name", QUICK)
def test_a_public_trace_comes_to_what_the_table_says(name: str, serverless: Subject) -> None:
    (wanted,) = [each for each in policies.ROWS if each.name == name]
    assert policies.measure(name, policies.case_of(wanted, serverless, Path(TRACES))) == row(name)


@pytest.mark.parametrize(
    "name", [each.name for each in policies.ROWS if each.name.startswith(("conv", "code", "short"))]
)
def test_no_baseline_dominates_the_preset_on_chat_and_code(name: str) -> None:
    assert policy_table.dominating(row(name)) == []


@pytest.mark.parametrize(
    "name", [each.name for each in policies.ROWS if each.name.startswith(("conv", "code", "reasoning"))]
)
def test_the_preset_is_within_a_quarter_of_the_oracle(name: str) -> None:
    found = row(name)["policies"]
    assert found["release"]["gpuHours"] <= 1.25 * found["oracle"]["gpuHours"]


def test_a_baseline_dominates_with_less_and_more_only() -> None:
    figures = {
        "release": {"gpuHours": 10.0, "attained": 95.0},
        "oracle": {"gpuHours": 1.0, "attained": 99.0},
        "cheaper and better": {"gpuHours": 9.0, "attained": 96.0},
        "cheaper and as good": {"gpuHours": 8.0, "attained": 95.0},
        "cheaper and worse": {"gpuHours": 5.0, "attained": 90.0},
        "nearly as good": {"gpuHours": 7.0, "attained": 94.6},
    }
    assert policy_table.dominating({"policies": figures}) == ["cheaper and better"]
    assert policy_table.as_good(figures) == "nearly as good"
