"""Readers of traffic traces, recognised by their header.

| format | header or keys |
|---|---|
| Azure LLM inference (2023, 2024) | `TIMESTAMP,ContextTokens,GeneratedTokens` |
| the same, in hundredths of seconds | `t_cs,in,out` |
| BurstGPT | `Timestamp,Model,Request tokens,Response tokens,...` (answers of 0 tokens are failures: left out) |
| Mooncake | JSON lines with `timestamp` (ms), `input_length`, `output_length`, and `hash_ids` of prompts' blocks |
| our own requests | `seconds,promptTokens,answerTokens` |
| counts per interval | `t_s,requests[,in_mean,out_mean]` |
| rates, as ServeGen's | `t_s,rps[,client_cv_wmean,in_mean,out_mean]` |
| rates, digitised | `t_s,req_per_min_mid[,in_tokens_per_min]` |
| our own rates | `seconds,requestsPerSecond[,promptTokens,answerTokens,variation]` |
| daily counts, as BurstGPT's | `kind,index,requests[,total_tokens]`: rows `day`, and `hour_mean` for a day's shape |

A line at a time is read (but for daily counts, which are few), so that size does not matter. What cannot
be right is an InputError with the file and the line.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import TextIO

from chartproof.errors import InputError
from chartproof.simulate.traffic import DEFAULT_START, Rate, Request, Trace

#: A longer line is not one of a trace.
_LONGEST_LINE = 1_000_000
#: Daily counts and the shape of a day.
_DAILY_COLUMNS = ("kind", "index", "requests")
_HOURS = 24
_MOST_DAYS = 10_000
#: Mooncake's names of prompts' blocks, and how many there may be.
_BLOCKS = "hash_ids"
_MOST_BLOCKS = 1 << 48
#: Digits of a second that Python's datetime takes.
_MICRO_DIGITS = 6

Row = Mapping[str, str]


class _BadValueError(ValueError):
    """A value that cannot be right; the message says which and why."""


@dataclass(frozen=True, slots=True)
class _RequestFormat:
    name: str
    columns: tuple[str, ...]
    read: Callable[[Row], tuple[float, int, int]]
    failures_are_empty: bool = False
    blocks: Callable[[Row], tuple[int, ...]] | None = None


@dataclass(frozen=True, slots=True)
class _RateFormat:
    """`per_second` reads the rate of a row that lasts that many seconds."""

    name: str
    columns: tuple[str, ...]
    time: str
    per_second: Callable[[Row, float], float]
    prompt: Callable[[Row], float | None]
    answer: Callable[[Row], float | None]
    variation: str = ""


def _number(row: Row, column: str) -> float:
    text = (row.get(column) or "").strip()
    try:
        value = float(text)
    except ValueError:
        raise _BadValueError(f"{column} is {text!r}, not a number") from None
    if not math.isfinite(value):
        raise _BadValueError(f"{column} is {text}, not a finite number")
    if value < 0:
        raise _BadValueError(f"{column} is {text}; it cannot be negative")
    return value


def _optional(row: Row, column: str) -> float | None:
    return _number(row, column) if (row.get(column) or "").strip() else None


def _tokens(row: Row, column: str) -> int:
    return round(_number(row, column))


def _moment(text: str) -> float:
    head, dot, fraction = text.strip().partition(".")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    text = f"{head}{dot}{fraction[: min(digits, _MICRO_DIGITS)]}{fraction[digits:]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _BadValueError(f"TIMESTAMP is {text!r}, not a time") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _quotient(row: Row, dividend: str, divisor: str) -> float | None:
    above, below = _optional(row, dividend), _optional(row, divisor)
    return above / below if above is not None and below else None


def _block_names(text: str) -> tuple[int, ...]:
    names = json.loads(text) if text else []
    if not isinstance(names, list) or not all(isinstance(each, int) and 0 <= each < _MOST_BLOCKS for each in names):
        raise _BadValueError(f"{_BLOCKS} is {text[:60]}, not a list of whole numbers from 0 to {_MOST_BLOCKS - 1}")
    return tuple(names)


_REQUESTS = (
    _RequestFormat(
        "Azure",
        ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
        lambda row: (
            _moment(row.get("TIMESTAMP") or ""),
            _tokens(row, "ContextTokens"),
            _tokens(row, "GeneratedTokens"),
        ),
    ),
    _RequestFormat(
        "hundredths",
        ("t_cs", "in", "out"),
        lambda row: (_number(row, "t_cs") / 100, _tokens(row, "in"), _tokens(row, "out")),
    ),
    _RequestFormat(
        "BurstGPT",
        ("Timestamp", "Request tokens", "Response tokens"),
        lambda row: (_number(row, "Timestamp"), _tokens(row, "Request tokens"), _tokens(row, "Response tokens")),
        failures_are_empty=True,
    ),
    _RequestFormat(
        "requests",
        ("seconds", "promptTokens", "answerTokens"),
        lambda row: (_number(row, "seconds"), _tokens(row, "promptTokens"), _tokens(row, "answerTokens")),
    ),
)
_MOONCAKE = _RequestFormat(
    "Mooncake",
    ("timestamp", "input_length", "output_length"),
    lambda row: (_number(row, "timestamp") / 1000, _tokens(row, "input_length"), _tokens(row, "output_length")),
    blocks=lambda row: _block_names(row.get(_BLOCKS) or ""),
)
_RATES = (
    _RateFormat(
        "counts",
        ("t_s", "requests"),
        "t_s",
        lambda row, seconds: _number(row, "requests") / seconds,
        lambda row: _optional(row, "in_mean"),
        lambda row: _optional(row, "out_mean"),
    ),
    _RateFormat(
        "ServeGen",
        ("t_s", "rps"),
        "t_s",
        lambda row, _: _number(row, "rps"),
        lambda row: _optional(row, "in_mean"),
        lambda row: _optional(row, "out_mean"),
        "client_cv_wmean",
    ),
    _RateFormat(
        "digitised",
        ("t_s", "req_per_min_mid"),
        "t_s",
        lambda row, _: _number(row, "req_per_min_mid") / 60,
        lambda row: _quotient(row, "in_tokens_per_min", "req_per_min_mid"),
        lambda row: _quotient(row, "out_tokens_per_min", "req_per_min_mid"),
    ),
    _RateFormat(
        "rates",
        ("seconds", "requestsPerSecond"),
        "seconds",
        lambda row, _: _number(row, "requestsPerSecond"),
        lambda row: _optional(row, "promptTokens"),
        lambda row: _optional(row, "answerTokens"),
        "variation",
    ),
)


def open_trace(path: Path, *, prompt_tokens: float | None = None, answer_tokens: float | None = None) -> Trace:
    """The trace in a file. The token means are for rates that do not say theirs.

    Raises InputError: no such file, unknown columns, no rows, or, while it is read, a row that cannot
    be right.
    """
    header, count = _head(path)
    if header.lstrip().startswith("{"):
        return _request_trace(path, _MOONCAKE, _json_rows)
    columns = [each.strip() for each in next(csv.reader([header]))]
    if set(_DAILY_COLUMNS) <= set(columns):
        return _daily_trace(path, prompt_tokens, answer_tokens)
    # Rates first: ours have the columns of requests besides.
    for rates in _RATES:
        if set(rates.columns) <= set(columns):
            if count < 2:  # noqa: PLR2004 - two rows make an interval
                raise InputError(
                    "a trace of rates needs two rows at least",
                    where=str(path),
                    how="add one where the last interval ends, of rate 0",
                )
            return _rate_trace(path, rates, prompt_tokens, answer_tokens)
    for each in _REQUESTS:
        if set(each.columns) <= set(columns):
            return _request_trace(path, each, _csv_rows)
    known = "; ".join([*(",".join(each.columns) for each in (*_REQUESTS, *_RATES)), ",".join(_DAILY_COLUMNS)])
    raise InputError(
        f"no trace has these columns: {', '.join(columns)}", where=f"{path}:1", how=f"one of these headers: {known}"
    )


def _head(path: Path) -> tuple[str, int]:
    """The first line and how many of the next two have something in them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in (stream.readline(_LONGEST_LINE) for _ in range(3)) if line.strip()]
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=str(path), how="name a file, or synthetic:NAME"
        ) from None
    except UnicodeDecodeError:
        raise _not_text(path) from None
    if not lines:
        raise InputError("is empty", where=str(path), how="a header and at least one row")
    if len(lines) < 2 and not lines[0].lstrip().startswith("{"):  # noqa: PLR2004 - a header and a row
        raise InputError("has a header and no rows", where=str(path), how="at least one row")
    return lines[0], len(lines) - 1


def _not_text(path: Path) -> InputError:
    return InputError("is not text in UTF-8", where=str(path), how="unpack it first if it is compressed")


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The file as lines of text; what is none is found only where it comes. Raises InputError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield stream
    except UnicodeDecodeError:
        raise _not_text(path) from None
    except csv.Error as error:
        raise InputError(f"is not a CSV file: {error}", where=str(path), how="one row per line") from None


def _bad_value(path: Path, number: int, error: _BadValueError) -> InputError:
    return InputError(str(error), where=f"{path}:{number}", how="correct the row, or leave it out")


def _csv_rows(path: Path, _columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    with _opened(path) as stream:
        reader = csv.reader(stream)
        header = [each.strip() for each in next(reader)]
        for values in reader:
            if not values:
                continue
            if len(values) != len(header):
                raise InputError(
                    f"{len(values)} columns where the header has {len(header)}",
                    where=f"{path}:{reader.line_num}",
                    how="correct the row, or leave it out",
                )
            yield reader.line_num, dict(zip(header, values, strict=True))


def _json_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    with _opened(path) as stream:
        number = 0
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except ValueError:
                found = None
            if not isinstance(found, dict) or not set(columns) <= set(found):
                raise InputError(
                    f"is not a JSON object with {', '.join(columns)}", where=f"{path}:{number}", how="one per line"
                )
            row = {key: str(found[key]) for key in columns}
            yield number, {**row, _BLOCKS: json.dumps(found[_BLOCKS])} if _BLOCKS in found else row


def _request_trace(
    path: Path, form: _RequestFormat, rows: Callable[[Path, Sequence[str]], Iterator[tuple[int, Row]]]
) -> Trace:
    def read() -> Iterator[tuple[int, Request]]:
        for number, row in rows(path, form.columns):
            try:
                found = Request(*form.read(row), form.blocks(row) if form.blocks is not None else ())
            except _BadValueError as error:
                raise _bad_value(path, number, error) from None
            if form.failures_are_empty and not found.answer_tokens:
                continue
            yield (
                number,
                found._replace(prompt_tokens=max(1, found.prompt_tokens), answer_tokens=max(1, found.answer_tokens)),
            )

    def requests() -> Iterator[Request]:
        first: float | None = None
        previous = -math.inf
        for number, each in read():
            if each.time < previous:
                raise InputError(
                    f"goes back in time: {each.time:g} s after {previous:g} s",
                    where=f"{path}:{number}",
                    how="sort the rows by time",
                )
            previous = each.time
            first = each.time if first is None else first
            yield each._replace(time=each.time - first)
        if first is None:
            raise InputError(
                "has no request that was answered", where=str(path), how="a row with an answer of one token at least"
            )

    start = DEFAULT_START
    if form.name == "Azure":
        start = next((datetime.fromtimestamp(each.time, UTC) for _, each in islice(read(), 1)), DEFAULT_START)
    return Trace(path.name, open_requests=requests, start=start)


def _timed_rows(path: Path, form: _RateFormat) -> Iterator[tuple[int, Row, float]]:
    for number, row in _csv_rows(path, form.columns):
        try:
            yield number, row, _number(row, form.time)
        except _BadValueError as error:
            raise _bad_value(path, number, error) from None


def _spans(path: Path, form: _RateFormat) -> Iterator[tuple[int, Row, float, float]]:
    """Each row with its line, time and length; the last one is as long as the one before."""
    seconds = 0.0
    last: tuple[int, Row, float] | None = None
    for (number, row, time), last in pairwise(_timed_rows(path, form)):
        seconds = last[2] - time
        if seconds <= 0:
            raise InputError(
                f"goes back in time: {last[2]:g} s after {time:g} s",
                where=f"{path}:{last[0]}",
                how="sort the rows by time, one per interval",
            )
        yield number, row, time, seconds
    if last is not None:
        yield *last, seconds


def _rate_trace(path: Path, form: _RateFormat, prompt_tokens: float | None, answer_tokens: float | None) -> Trace:
    def rates() -> Iterator[Rate]:
        first: float | None = None
        # Intervals without requests have no means: those of the last one before hold.
        means: dict[str, float | None] = {"prompt": prompt_tokens, "answer": answer_tokens}
        for number, row, time, seconds in _spans(path, form):
            first = time if first is None else first
            try:
                per_second = form.per_second(row, seconds)
                for kind, read in (("prompt", form.prompt), ("answer", form.answer)):
                    found = read(row)
                    means[kind] = means[kind] if found is None else found
                variation = _optional(row, form.variation) if form.variation else None
            except _BadValueError as error:
                raise _bad_value(path, number, error) from None
            missing = next((kind for kind, mean in means.items() if mean is None), None)
            if per_second and missing is not None:
                raise InputError(
                    f"does not say how long {missing}s are",
                    where=f"{path}:{number}",
                    how=f"give their mean with --{missing}-tokens",
                )
            yield Rate(
                time - first, seconds, per_second, means["prompt"] or 1.0, means["answer"] or 1.0, variation or 1.0
            )

    return Trace(path.name, open_rates=rates)


def _daily_trace(path: Path, prompt_tokens: float | None, answer_tokens: float | None) -> Trace:
    """Counts per day, spread over the day as the means per hour are (evenly without any).

    A day's tokens are prompts and answers together: of their mean, `answer_tokens` are answer, the rest prompt.
    """

    def rates() -> Iterator[Rate]:
        days, shape = _read_days(path)
        whole = math.fsum(shape)
        for day, (requests, total) in enumerate(days):
            prompt = prompt_tokens
            if prompt is None and total is not None and answer_tokens is not None and requests:
                prompt = max(1.0, total / requests - answer_tokens)
            if requests and (prompt is None or answer_tokens is None):
                raise InputError(
                    "says tokens of prompts and answers together, at most",
                    where=str(path),
                    how="give the mean of answers with --answer-tokens"
                    + (" and that of prompts with --prompt-tokens" if total is None else ""),
                )
            for hour, part in enumerate(shape):
                per_second = requests * part / whole / 3600
                yield Rate(86400.0 * day + 3600.0 * hour, 3600.0, per_second, prompt or 1.0, answer_tokens or 1.0)

    return Trace(path.name, open_rates=rates)


def _read_days(path: Path) -> tuple[list[tuple[float, float | None]], list[float]]:
    """Requests and tokens by day, and the weight of each hour of a day."""
    days: list[tuple[float, float | None]] = []
    shape: list[float] = []
    for number, row in _csv_rows(path, _DAILY_COLUMNS):
        kind = (row.get("kind") or "").strip()
        try:
            index, requests, total = _number(row, "index"), _number(row, "requests"), _optional(row, "total_tokens")
        except _BadValueError as error:
            raise _bad_value(path, number, error) from None
        if kind not in {"day", "hour_mean"}:
            raise InputError(f"kind is {kind!r}", where=f"{path}:{number}", how="day or hour_mean")
        if index != len(days if kind == "day" else shape):
            raise InputError(
                f"{kind} {index:g} does not follow on the one before",
                where=f"{path}:{number}",
                how="sort the rows; none may be missing",
            )
        if kind == "hour_mean":
            shape.append(requests)
        elif len(days) < _MOST_DAYS:
            days.append((requests, total))
        else:
            raise InputError(f"has more than {_MOST_DAYS} days", where=f"{path}:{number}", how="take a part of them")
    if not days:
        raise InputError("has no day", where=str(path), how="at least one row of kind day")
    if not shape:
        shape = [1.0] * _HOURS
    if len(shape) != _HOURS or not math.fsum(shape):
        raise InputError(
            f"has means of {len(shape)} hours, or all of them are 0",
            where=str(path),
            how="24 rows of kind hour_mean, or none",
        )
    return days, shape
