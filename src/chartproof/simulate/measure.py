"""What a run is measured by: distributions that stay small however many requests there are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

#: Values are kept in classes that are this much wider than the one before: percentiles are right to half of it.
_GROWTH = 1.01
_LOG_GROWTH = math.log(_GROWTH)
_SMALLEST = 1e-4


class Distribution:
    """Counts of values in classes one percent wide."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._classes: dict[int, int] = {}

    def add(self, value: float) -> None:
        """One value, in seconds."""
        self.count += 1
        self.total += value
        index = int(math.log(max(value, _SMALLEST) / _SMALLEST) / _LOG_GROWTH)
        self._classes[index] = self._classes.get(index, 0) + 1

    @property
    def mean(self) -> float | None:
        """Mean, None without values."""
        return self.total / self.count if self.count else None

    def percentile(self, percent: float) -> float | None:
        """The value that this share does not exceed, to half a percent; None without values."""
        return next(iter(self.percentiles([percent])), None) if self.count else None

    def percentiles(self, percents: Iterable[float]) -> list[float]:
        """Several of them, in rising order of percent."""
        found = []
        cumulated = 0
        wanted = list(percents)
        for index in sorted(self._classes):
            cumulated += self._classes[index]
            while wanted and cumulated >= math.ceil(wanted[0] / 100 * self.count):
                found.append(_SMALLEST * _GROWTH ** (index + 0.5))
                wanted.pop(0)
        return found

    def curve(self, of: int) -> tuple[tuple[float, float], ...]:
        """Points of the cumulated distribution: seconds, and the percentage of `of` that took no longer."""
        found = []
        cumulated = 0
        for index in sorted(self._classes):
            cumulated += self._classes[index]
            found.append((_SMALLEST * _GROWTH ** (index + 0.5), 100 * cumulated / of))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Objective:
    """A target of a service level: `percent` of requests have a `measure` of at most `seconds`.

    `measure` is `ttft` (time to first token) or `e2e` (end to end).
    """

    measure: str
    percent: float
    seconds: float

    @property
    def name(self) -> str:
        """As it is written: `ttft_p95=2s`."""
        return f"{self.measure}_p{self.percent:g}={self.seconds:g}s"
