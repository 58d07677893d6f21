from __future__ import annotations

import re

import pytest

from benchmarks import check_presets
from tests import presets


def test_benchmark_prints_the_ratio_to_a_plain_render(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_presets.main([str(presets.path_of("platform-eks")), "--repetitions", "1"]) == 0
    shown = capsys.readouterr().out
    row = re.search(r"^platform-eks +(\d+) ms +(\d+) ms +([\d.]+)$", shown, re.MULTILINE)
    assert row
    assert float(row[3]) == pytest.approx(int(row[2]) / int(row[1]), rel=0.1)
    assert "`chartproof check` of all 1:" in shown
