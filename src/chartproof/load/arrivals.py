"""When requests come and how long they are: traces for the load generator, which the simulator reads too.

Arrivals are open-loop: the next request comes when it is due, whether or not the last one was answered. All times are
simulated seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chartproof.errors import UsageError
from chartproof.simulate import traffic
from chartproof.simulate.trace_files import open_trace
from chartproof.simulate.traffic import DEFAULT_ANSWER_TOKENS, DEFAULT_PROMPT_TOKENS, Rate, Request, Trace


@dataclass(frozen=True, slots=True)
class Piece:
    """A rate (requests per second) that holds for some seconds."""

    per_second: float
    seconds: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.per_second) and self.per_second >= 0):
            raise UsageError(f"{self.per_second:g} is no rate", how="requests per second, 0 or more")
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UsageError(f"a rate cannot hold for {self.seconds:g} s", how="a number of seconds above 0")


def pieces_of(text: str) -> tuple[Piece, ...]:
    """Read `RATE@SECONDS,...`, such as `0.2@300,5@600,0@300`: a burst. Raises UsageError."""
    found = []
    for each in text.split(","):
        rate, at, seconds = each.partition("@")
        try:
            found.append(Piece(float(rate), float(seconds)))
        except ValueError:
            what = f"{each.strip()!r} is no rate with its duration" if at else f"{each.strip()!r} has no duration"
            raise UsageError(what, how="requests per second @ seconds, such as 0.2@300,5@600,0@300") from None
    return tuple(found)


def evenly(
    pieces: Sequence[Piece],
    *,
    prompt_tokens: float = DEFAULT_PROMPT_TOKENS,
    answer_tokens: float = DEFAULT_ANSWER_TOKENS,
) -> Trace:
    """Requests at equal distances, all of the same length; the first one at once."""
    lengths = max(1, round(prompt_tokens)), max(1, round(answer_tokens))

    def requests() -> Iterator[Request]:
        begin, due = 0.0, 0.0
        for each in pieces:
            # `due` is counted in requests: a distance that begins under one rate ends under the next.
            count = each.per_second * each.seconds
            while due < count - 1e-9:
                yield Request(begin + due / each.per_second, *lengths)
                due += 1
            due -= count
            begin += each.seconds

    return Trace(_name("evenly", pieces), open_requests=requests)


def drawn(
    pieces: Sequence[Piece],
    *,
    prompt_tokens: float = DEFAULT_PROMPT_TOKENS,
    answer_tokens: float = DEFAULT_ANSWER_TOKENS,
    variation: float = 1.0,
    seed: int = 0,
) -> Trace:
    """Requests by chance, around these rates and mean lengths; the same seed draws the same ones.

    `variation` is the coefficient of variation of the gaps: 1 is Poisson, more comes in bursts.
    """

    def rates() -> Iterator[Rate]:
        begin = 0.0
        for each in pieces:
            yield Rate(begin, each.seconds, each.per_second, prompt_tokens, answer_tokens, variation)
            begin += each.seconds

    return Trace(_name("drawn", pieces), open_rates=rates, seed=seed)


def of_trace(
    text: str,
    *,
    prompt_tokens: float | None = None,
    answer_tokens: float | None = None,
    scale: float = 1.0,
    seed: int = 0,
) -> Trace:
    """The trace in a file, or a made one (`synthetic:NAME,...`); lengths are for those that say none.

    Raises InputError and UsageError.
    """
    if text.startswith(traffic.SYNTHETIC):
        found = traffic.synthetic(
            text.removeprefix(traffic.SYNTHETIC),
            prompt_tokens=prompt_tokens or DEFAULT_PROMPT_TOKENS,
            answer_tokens=answer_tokens or DEFAULT_ANSWER_TOKENS,
        )
    else:
        found = open_trace(Path(text), prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
    return replace(found, scale=scale, seed=seed)


def fitted(trace: Trace, context_tokens: int) -> Trace:
    """The same requests, shortened where prompt and answer do not fit a context of so many tokens together."""

    def requests() -> Iterator[Request]:
        for each in trace.requests():
            answer = min(each.answer_tokens, max(1, context_tokens - 1))
            prompt = min(each.prompt_tokens, max(1, context_tokens - answer))
            yield each._replace(prompt_tokens=prompt, answer_tokens=answer)

    return Trace(trace.name, open_requests=requests, start=trace.start)


def _name(how: str, pieces: Sequence[Piece]) -> str:
    return f"{how} " + ",".join(f"{each.per_second:g}@{each.seconds:g}" for each in pieces)
