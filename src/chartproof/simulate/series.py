"""What Prometheus holds: samples of series, taken at scrapes, and what a query may see of them.

A query at time t sees a series' newest sample not older than the lookback of five minutes, unless the
series has ended: Prometheus writes stale markers when a target disappears. Samples are written in order of
time, and queries are asked at the time they are evaluated.

Source: prometheus `promql/engine.go` (lookback, staleness), `scrape/scrape.go` (stale markers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chartproof.languages.promql import Matcher

LOOKBACK_SECONDS = 300.0


@dataclass(eq=False, slots=True)
class Series:
    """One series. `times` and `values` go together; `ended` is when its target disappeared."""

    labels: Mapping[str, str]
    times: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    ended: float | None = None

    def append(self, time: float, value: float) -> None:
        """Write one sample."""
        self.times.append(time)
        self.values.append(value)

    def at(self, now: float) -> float | None:
        """What an instant query sees."""
        if self.ended is not None or not self.times or self.times[-1] <= now - LOOKBACK_SECONDS:
            return None
        return self.values[-1]

    def before(self, now: float, offset: float) -> float | None:
        """What an instant query with `offset` sees: the newest sample up to then, also of a series that ended later."""
        then = now - offset
        if self.ended is not None and self.ended <= then:
            return None
        for time, value in zip(reversed(self.times), reversed(self.values), strict=True):
            if time <= then:
                return value if time > then - LOOKBACK_SECONDS else None
        return None

    def window(self, now: float, seconds: float) -> tuple[list[float], list[float]]:
        """Times and values in (now - seconds, now]: what a range selector sees."""
        times = self.times
        first = len(times)
        while first and times[first - 1] > now - seconds:
            first -= 1
        return times[first:], self.values[first:]


class Database:
    """All series by the name of their metric; `retention` is how far back queries look."""

    def __init__(self, retention: float = LOOKBACK_SECONDS) -> None:
        self.retention = retention
        #: Grows whenever series come or go, so that selections can be kept until then.
        self.generation = 0
        self._series: dict[str, list[Series]] = {}

    def add(self, metric: str, labels: Mapping[str, str]) -> Series:
        """A new series."""
        found = Series({**labels, "__name__": metric})
        self._series.setdefault(metric, []).append(found)
        self.generation += 1
        return found

    def end(self, series: list[Series], now: float) -> None:
        """The target of these series has disappeared: stale markers."""
        for each in series:
            each.ended = now
        self.generation += 1

    def select(self, metric: str, matchers: tuple[Matcher, ...]) -> list[Series]:
        """Series of a metric that every matcher accepts; an absent label counts as empty."""
        return [
            each
            for each in self._series.get(metric, ())
            if all(matcher.accepts(each.labels.get(matcher.label, "")) for matcher in matchers)
        ]

    def forget(self, now: float) -> None:
        """Drop samples and series that no query can see any more."""
        cutoff = now - max(self.retention, LOOKBACK_SECONDS)
        for metric, found in self._series.items():
            kept = [each for each in found if each.ended is None or each.ended > cutoff]
            if len(kept) < len(found):
                self._series[metric] = kept
                self.generation += 1
            for each in kept:
                first = 0
                while first < len(each.times) - 1 and each.times[first] <= cutoff:
                    first += 1
                del each.times[:first], each.values[:first]
