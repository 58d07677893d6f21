"""What became of each request, as JSON lines, and what became of all of them together."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from chartproof.errors import InputError
from chartproof.report.table import table

OK = "ok"
#: The connection was refused, or the name does not exist.
REFUSED = "refused"
#: The connection broke, or the engine gave the request up.
ABORTED = "aborted"
#: The stream ended as if it were whole, without the end of the answer.
TRUNCATED = "truncated"
TIMEOUT = "timeout"
#: Ended by ourselves before its answer: not lost.
STOPPED = "stopped"

PERCENTS = (50.0, 90.0, 95.0, 99.0)

_KEYS: Mapping[str, str] = {
    "index": "index",
    "due": "dueSeconds",
    "sent": "sentSeconds",
    "first_token": "firstTokenSeconds",
    "done": "doneSeconds",
    "outcome": "outcome",
    "prompt_tokens": "promptTokens",
    "answer_tokens": "answerTokens",
    "received_tokens": "receivedTokens",
    "detail": "detail",
}


def http(status: int) -> str:
    """The outcome of an answer with an error's status."""
    return f"http-{status}"


@dataclass(frozen=True, slots=True)
class Record:
    """One request. Times are simulated seconds from the load's start; `first_token` is None where none came.

    `answer_tokens` were asked for, `received_tokens` came as far as is known.
    """

    index: int
    due: float
    sent: float
    first_token: float | None
    done: float
    outcome: str
    prompt_tokens: int
    answer_tokens: int
    received_tokens: int = 0
    detail: str = ""

    @property
    def lost(self) -> bool:
        """Whether it was not answered as it should have been."""
        return self.outcome not in {OK, STOPPED}

    @property
    def time_to_first_token(self) -> float | None:
        """Simulated seconds from sending to the first token; None without one."""
        return None if self.first_token is None else self.first_token - self.sent

    @property
    def end_to_end(self) -> float:
        """Simulated seconds from sending to the end."""
        return self.done - self.sent

    def as_json(self) -> dict[str, Any]:
        """The record for a file."""
        found = {key: getattr(self, name) for name, key in _KEYS.items()}
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in found.items()}


class RecordFile:
    """Writes records as JSON lines while they come; a context manager. Raises InputError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._stream = path.open("w", encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None

    def write(self, record: Record) -> None:
        """One line."""
        try:
            self._stream.write(json.dumps(record.as_json(), ensure_ascii=False) + "\n")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(self._path)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def read_records(path: Path) -> list[Record]:
    """The records of a file that RecordFile wrote. Raises InputError."""
    found = []
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    values = json.loads(line)
                    found.append(Record(**{name: values[key] for name, key in _KEYS.items()}))
                except (ValueError, KeyError, TypeError):
                    raise InputError("is no record of a request", where=f"{path}:{number}") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return found


@dataclass(frozen=True, slots=True)
class Summary:
    """All requests together. Times are simulated seconds, by percent, of those that were answered."""

    outcomes: Mapping[str, int]
    #: An example of what was said for each outcome that is a loss.
    details: Mapping[str, str]
    first_token: Mapping[float, float]
    end_to_end: Mapping[float, float]
    received_tokens: int
    #: From the start to the end of the last request.
    seconds: float
    #: The longest that a request was sent after it was due: what the generator could not keep up with.
    latest: float

    @property
    def requests(self) -> int:
        """How many were sent."""
        return sum(self.outcomes.values())

    @property
    def lost(self) -> int:
        """How many were not answered as they should have been."""
        return sum(count for outcome, count in self.outcomes.items() if outcome not in {OK, STOPPED})

    def as_json(self) -> dict[str, Any]:
        """The summary for a file."""
        return {
            "requests": self.requests,
            "lost": self.lost,
            "outcomes": dict(self.outcomes),
            "details": dict(self.details),
            "ttftSeconds": _by_percent(self.first_token),
            "endToEndSeconds": _by_percent(self.end_to_end),
            "receivedTokens": self.received_tokens,
            "seconds": round(self.seconds, 3),
            "sentLateSeconds": round(self.latest, 3),
        }

    def text(self) -> str:
        """The summary for a terminal."""
        received = f"{self.received_tokens} tokens received"
        lines = [f"{self.requests} requests in {self.seconds:.1f} s, {self.lost} lost, {received}\n"]
        lines += [
            f"  {outcome}: {count}" + (f" ({self.details[outcome]})" if self.details.get(outcome) else "") + "\n"
            for outcome, count in self.outcomes.items()
        ]
        if self.first_token:
            rows = [
                (name, *(f"{each:.2f}" for each in values.values()))
                for name, values in (("first token", self.first_token), ("end to end", self.end_to_end))
            ]
            lines += ["\n", table(("seconds", *(f"p{percent:g}" for percent in self.first_token)), rows)]
        if self.latest > 1:
            lines.append(
                f"\nnote: requests were sent up to {self.latest:.1f} s late; the generator could not keep up\n"
            )
        return "".join(lines)


def summarize(records: Iterable[Record]) -> Summary:
    """Count and measure."""
    outcomes: Counter[str] = Counter()
    details: dict[str, str] = {}
    first_token, end_to_end = [], []
    tokens, seconds, latest = 0, 0.0, 0.0
    for each in records:
        outcomes[each.outcome] += 1
        tokens += each.received_tokens
        seconds, latest = max(seconds, each.done), max(latest, each.sent - each.due)
        if each.lost and each.detail:
            details.setdefault(each.outcome, each.detail)
        if each.outcome == OK:
            end_to_end.append(each.end_to_end)
            if each.time_to_first_token is not None:
                first_token.append(each.time_to_first_token)
    return Summary(
        outcomes=dict(sorted(outcomes.items(), key=lambda item: (item[0] != OK, item[0]))),
        details=details,
        first_token=percentiles(first_token),
        end_to_end=percentiles(end_to_end),
        received_tokens=tokens,
        seconds=seconds,
        latest=latest,
    )


def percentiles(values: Sequence[float]) -> dict[float, float]:
    """For each of PERCENTS the smallest value that this share does not exceed; empty without values."""
    ordered = sorted(values)
    return {percent: ordered[math.ceil(percent / 100 * len(ordered)) - 1] for percent in PERCENTS if ordered}


def _by_percent(values: Mapping[float, float]) -> dict[str, float]:
    return {f"p{percent:g}": round(value, 4) for percent, value in values.items()}
