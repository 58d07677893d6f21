from __future__ import annotations

import math

import pytest

from chartproof.cluster.speed import DEFAULT_SPEED, Speed
from chartproof.errors import UsageError


def test_a_scrape_period_is_one_second_at_the_default_speed() -> None:
    assert DEFAULT_SPEED.real(15) == 1
    assert DEFAULT_SPEED.simulated(1) == 15


def test_factor_one_is_real_time() -> None:
    assert Speed(1).real(7.5) == Speed(1).simulated(7.5) == 7.5


@pytest.mark.parametrize("factor", [0, -1, math.inf, math.nan])
def test_time_neither_stands_still_nor_runs_backwards(factor: float) -> None:
    with pytest.raises(UsageError, match="times as fast"):
        Speed(factor)
