"""What the benchmarks say of growth holds by count of calls, which no busy machine changes."""

from __future__ import annotations

import cProfile
import re

import pytest

from benchmarks import long_trace, simulate
from chartproof.simulate.baselines import run_release
from chartproof.simulate.run import Options, Subject, subject_of
from tests import presets

PRESET = "llama-3.1-8b-awq-g6"


@pytest.fixture(scope="module")
def ten_replicas() -> Subject:
    return subject_of(presets.render(PRESET))


def calls(subject: Subject, hours: float, rate: float, options: Options) -> tuple[int, int]:
    """Functions called by a run, and its requests."""
    case = simulate.case_of(subject, hours, rate, options)
    profile = cProfile.Profile()
    result = profile.runcall(run_release, case)
    return sum(each.callcount for each in profile.getstats()), result.requests


def test_the_cost_of_a_request_does_not_grow_with_the_trace(ten_replicas: Subject) -> None:
    costs = [calls(ten_replicas, hours, 1, Options()) for hours in (0.1, 1)]
    short, long = (count / requests for count, requests in costs)
    assert costs[1][1] > 8 * costs[0][1]
    assert long < 1.2 * short


def test_decisions_without_requests_cost_the_same_whatever_the_traffic_is(ten_replicas: Subject) -> None:
    options = Options(without_requests=True, initial_replicas=1)
    (quiet, few), (busy, many) = (calls(ten_replicas, 2, rate, options) for rate in (0.1, 1))
    assert many > 8 * few
    assert busy < 1.2 * quiet


def test_the_benchmark_prints_a_ratio_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main([str(presets.path_of(PRESET)), "--hours", "0.2", "--decided-hours", "0.5"]) == 0
    rows = re.findall(
        r"^ *([\d.]+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+) +\d+$", capsys.readouterr().out, re.MULTILINE
    )
    assert [row[0] for row in rows] == ["0.2", "0.5"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert long_trace.main([str(presets.path_of(PRESET)), "--megabytes", "0.1", "20"]) == 0
    rows = re.findall(r"^ *([\d.]+) +(\d+) +([\d.]+) +([\d.]+) +\d+$", capsys.readouterr().out, re.MULTILINE)
    (_, few, _, _), (_, many, _, ratio) = rows
    assert int(many) > 100 * int(few)
    assert float(ratio) < 1.2
