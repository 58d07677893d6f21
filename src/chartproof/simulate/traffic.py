"""Traffic: requests one by one, or rates over time, read or made as a stream.

A trace is never held in memory. Whoever needs requests of a trace of rates gets them drawn: gaps from a
Gamma distribution of the rate's coefficient of variation (1 is Poisson), prompt and answer lengths from
log-normal ones around the trace's means. The same seed draws the same requests.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from chartproof.errors import UsageError

#: Wall clock at the start of traces that have none: a Monday at midnight.
DEFAULT_START = datetime(2026, 1, 5, tzinfo=UTC)
#: Tokens of the typical request (as `chartproof.plan.throughput`), where nothing else is said.
DEFAULT_PROMPT_TOKENS = 1024.0
DEFAULT_ANSWER_TOKENS = 256.0
#: Coefficient of variation of drawn prompt and answer lengths; the Azure traces of 2023 have 0.8 to 1.1.
LENGTH_VARIATION = 1.0
#: Width of the bins that requests are counted in where rates are asked for, in seconds.
RATE_SECONDS = 15.0

SYNTHETIC = "synthetic:"
#: Between the blocks of a request and those of its copy: more than a trace has.
_BLOCKS_APART = 1 << 48


class Request(NamedTuple):
    """A request: seconds from the trace's start, prompt and answer tokens.

    `blocks` are names of the prompt's blocks of 512 tokens, where the trace has them: equal names mean that the
    prompts are equal up to there.
    """

    time: float
    prompt_tokens: int
    answer_tokens: int
    blocks: tuple[int, ...] = ()


class Rate(NamedTuple):
    """A rate that holds for `seconds` from `time`; tokens are means, `variation` is that of the gaps."""

    time: float
    seconds: float
    per_second: float
    prompt_tokens: float
    answer_tokens: float
    variation: float = 1.0


@dataclass(frozen=True, slots=True)
class Trace:
    """A source of traffic that can be read any number of times: by requests, else by rates.

    `start` is the wall clock at its second 0, which cron triggers go by.
    """

    name: str
    open_requests: Callable[[], Iterator[Request]] | None = None
    open_rates: Callable[[], Iterator[Rate]] | None = None
    start: datetime = DEFAULT_START
    scale: float = 1.0
    seed: int = 0

    def requests(self) -> Iterator[Request]:
        """Every request in order of time, scaled."""
        if self.open_requests is not None:
            return _scaled(self.open_requests(), self.scale, random.Random(f"{self.seed} scale"))  # noqa: S311
        return _drawn(self.rates(), random.Random(f"{self.seed} arrivals"))  # noqa: S311

    def rates(self) -> Iterator[Rate]:
        """The rates in order of time, scaled; of requests, counts in bins of RATE_SECONDS."""
        if self.open_requests is not None:
            return _counted(self.open_requests(), self.scale)
        rates = self.open_rates() if self.open_rates is not None else iter(())
        return (each._replace(per_second=each.per_second * self.scale) for each in rates)

    def between(self, first: float, last: float) -> Trace:
        """The part of the trace from second `first` to `last`, which begins at second 0 of its own."""
        requests, rates = self.open_requests, self.open_rates
        return replace(
            self,
            open_requests=None if requests is None else lambda: _requests_between(requests(), first, last),
            open_rates=None if rates is None else lambda: _rates_between(rates(), first, last),
            start=self.start + timedelta(seconds=first),
        )


def _requests_between(requests: Iterable[Request], first: float, last: float) -> Iterator[Request]:
    for each in requests:
        if each.time >= last:
            return
        if each.time >= first:
            yield each._replace(time=each.time - first)


def _rates_between(rates: Iterable[Rate], first: float, last: float) -> Iterator[Rate]:
    for each in rates:
        if each.time >= last:
            return
        begin, end = max(first, each.time), min(last, each.time + each.seconds)
        if begin < end:
            yield each._replace(time=begin - first, seconds=end - begin)


def _scaled(requests: Iterable[Request], scale: float, draw: random.Random) -> Iterator[Request]:
    """Thin the stream, or repeat requests between one arrival and the next; the order stays."""
    if scale == 1:
        yield from requests
        return
    whole, part = int(scale), scale - int(scale)
    previous: Request | None = None
    for each in requests:
        if previous is not None:
            yield from _copies(previous, each.time, whole + (draw.random() < part), draw)
        previous = each
    if previous is not None:
        yield from _copies(previous, previous.time, whole + (draw.random() < part), draw)


def _copies(request: Request, until: float, count: int, draw: random.Random) -> Iterator[Request]:
    if not count:
        return
    yield request
    gap = until - request.time
    times = sorted(request.time + gap * draw.random() for _ in range(count - 1))
    for copy, time in enumerate(times, 1):
        # Each copy is somebody else's: it shares blocks with the same copy of other requests only.
        yield request._replace(time=time, blocks=tuple(each + copy * _BLOCKS_APART for each in request.blocks))


def _counted(requests: Iterable[Request], scale: float) -> Iterator[Rate]:
    start = 0.0
    count = prompts = answers = 0

    def rate() -> Rate:
        mean = (prompts / count, answers / count) if count else (DEFAULT_PROMPT_TOKENS, DEFAULT_ANSWER_TOKENS)
        return Rate(start, RATE_SECONDS, count * scale / RATE_SECONDS, *mean)

    for each in requests:
        while each.time >= start + RATE_SECONDS:
            yield rate()
            start += RATE_SECONDS
            count = prompts = answers = 0
        count += 1
        prompts += each.prompt_tokens
        answers += each.answer_tokens
    yield rate()


def _drawn(rates: Iterable[Rate], draw: random.Random) -> Iterator[Request]:
    # `due` is what is left of the current gap, in expected requests: a gap that began under one rate ends
    # under the next.
    due: float | None = None
    spread = math.sqrt(math.log(1 + LENGTH_VARIATION**2))
    for rate in rates:
        if rate.per_second <= 0:
            continue
        shape = 1 / max(rate.variation, 0.05) ** 2
        time = rate.time
        end = rate.time + rate.seconds
        while True:
            if due is None:
                due = draw.gammavariate(shape, 1 / shape)
            reached = time + due / rate.per_second
            if reached >= end:
                due -= (end - time) * rate.per_second
                break
            time, due = reached, None
            yield Request(time, _length(rate.prompt_tokens, spread, draw), _length(rate.answer_tokens, spread, draw))


def _length(mean: float, spread: float, draw: random.Random) -> int:
    """A log-normal length of this mean, at least one token."""
    return max(1, round(draw.lognormvariate(math.log(max(mean, 1.0)) - spread**2 / 2, spread)))


# --- Synthetic ----------------------------------------------------------------------------------------------------

_STEP_SECONDS = 60.0
_HOUR = 3600.0
_DAY = 86400.0


def _diurnal(time: float) -> float:
    """A sine over the day with its trough at 04:00, five times as much at its top."""
    return 1 + 2 / 3 * math.sin(2 * math.pi * (time / _DAY - 10 / 24))


def _burst(time: float) -> float:
    """A tenth of the mean, and five minutes in every hour of eleven times as much."""
    return 10.9 if time % _HOUR >= _HOUR - 300 else 0.1


def _office_hours(time: float) -> float:
    """08:00 to 18:00 from Monday to Friday, with a dip at noon; nothing at night and on weekends."""
    hour = time % _DAY / _HOUR
    if time // _DAY % 7 >= 5 or not 8 <= hour < 18:  # noqa: PLR2004 - five working days, eight to six
        return 0.0
    return 2.4 * (0.6 if 12 <= hour < 13 else 1.0)  # noqa: PLR2004 - lunch


_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "diurnal": _diurnal,
    "burst": _burst,
    "office-hours": _office_hours,
}
_PARAMETERS = {"hours": 24.0, "rate": 1.0, "variation": 1.0}


def synthetic(text: str, *, prompt_tokens: float, answer_tokens: float) -> Trace:
    """A made trace: `NAME[,hours=24][,rate=1][,variation=1]`, rate being requests per second.

    Names: constant, diurnal, burst, office-hours. Raises UsageError.
    """
    name, *settings = text.split(",")
    shape = _SHAPES.get(name)
    if shape is None:
        raise UsageError(f"there is no synthetic trace {name!r}", how=f"one of {', '.join(_SHAPES)}")
    values = dict(_PARAMETERS)
    for setting in settings:
        key, _, value = setting.partition("=")
        try:
            values[key] = {**values, key: float(value)}[key] if key in values else math.nan
        except ValueError:
            values[key] = math.nan
        if not 0 < values[key] < math.inf:
            raise UsageError(
                f"{setting!r} is no setting of a synthetic trace",
                how=f"a positive number for one of {', '.join(_PARAMETERS)}, such as hours=24",
            )

    def rates() -> Iterator[Rate]:
        for step in range(math.ceil(values["hours"] * _HOUR / _STEP_SECONDS)):
            time = step * _STEP_SECONDS
            seconds = min(_STEP_SECONDS, values["hours"] * _HOUR - time)
            rate = values["rate"] * shape(time)
            yield Rate(time, seconds, rate, prompt_tokens, answer_tokens, values["variation"])

    return Trace(SYNTHETIC + text, open_rates=rates)
