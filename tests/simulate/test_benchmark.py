from __future__ import annotations

import re

import pytest

from benchmarks import simulate
from tests import presets


def test_the_cost_of_a_request_does_not_grow_with_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.main([str(presets.path_of("llama-3.1-8b-awq-g6")), "--hours", "0.5", "5"]) == 0
    rows = re.findall(r"^ *([\d.]+) +(\d+) +([\d.]+) +([\d.]+) +\d+$", capsys.readouterr().out, re.MULTILINE)
    assert [row[0] for row in rows] == ["0.5", "5", "24"]
    short, long, _ = (float(row[3]) for row in rows)
    assert long < 3 * short
    # The goal is one second; three leave room for a busy machine.
    assert float(rows[2][2]) < 3
