"""Faults of the pod network: hosts that refuse, fail, or answer Prometheus' queries with nothing of use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from chartproof.errors import UsageError
from chartproof.release import dig


class Mode(StrEnum):
    """What a broken host does."""

    REFUSE = "refuse"
    """Nobody listens."""
    ERROR = "error"
    """HTTP 500."""
    NAN = "nan"
    """Every value is NaN."""
    STALE = "stale"
    """What was answered first after it broke is answered for ever."""
    EMPTY = "empty"
    """No series at all."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    content_type: str
    body: bytes


class NetworkFaults:
    """Which hosts are broken, and how.

    A pattern is HOST, HOST:PORT, HOST/PATH or HOST:PORT/PATH, with `*`, `?` and `[...]` as in file names; a HOST is a
    Service's name in any of its forms, or a pod's address. `10.64.*` is every pod, `*/metrics` every scrape.
    """

    def __init__(self) -> None:
        self.modes: dict[str, Mode] = {}

    def break_host(self, pattern: str, mode: str) -> None:
        """From now on; the pattern that came last decides. Raises UsageError for a mode that does not exist."""
        try:
            known = Mode(mode)
        except ValueError:
            raise UsageError(f"there is no way {mode!r} to break a host", how=f"one of {', '.join(Mode)}") from None
        if not pattern:
            raise UsageError("the pattern names no host", how="a host such as prometheus-operated.monitoring.svc")
        self.modes.pop(pattern, None)
        self.modes[pattern] = known

    def mend(self, pattern: str) -> None:
        """End of `break_host`; a pattern that is not broken is fine."""
        self.modes.pop(pattern, None)

    def of(self, hosts: Iterable[tuple[str, int]], path: str) -> Mode | None:
        """What is wrong with a request to a host of these names and ports."""
        if not self.modes:
            return None
        known = [form for host, port in hosts for form in (host, f"{host}:{port}")]
        for pattern, mode in reversed(self.modes.items()):
            host, slash, rest = pattern.partition("/")
            if slash and not fnmatchcase(path, f"/{rest}"):
                continue
            if any(fnmatchcase(each, host.lower()) for each in known):
                return mode
        return None


def spoiled(mode: Mode, answer: Answer) -> Answer:
    """The answer without its values: of Prometheus' query API, or a page of metrics; anything else as it is.

    Source: prometheus `docs/querying/api.md`, expression query result formats. A scalar cannot be empty.
    """
    if answer.content_type == "application/json":
        body = _spoiled_query(mode, answer.body)
    elif answer.content_type in {"text/plain", "application/openmetrics-text"}:
        body = b"" if mode is Mode.EMPTY else _SAMPLE.sub(rb"\1 NaN", answer.body)
    else:
        body = answer.body
    return Answer(answer.status, answer.content_type, body)


#: A line of Prometheus' text format: metric and labels, then the value. A label's value may have spaces in it.
_SAMPLE = re.compile(rb'(?m)^([a-zA-Z_:][\w:]*(?:\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\})?)[ \t]+\S+')


def _spoiled_query(mode: Mode, body: bytes) -> bytes:
    try:
        found = json.loads(body)
    except ValueError:
        return body
    kind, result = dig(found, "data", "resultType"), dig(found, "data", "result")
    if kind not in {"vector", "matrix", "scalar"} or not isinstance(result, list):
        return body
    if kind == "scalar":
        if mode is Mode.NAN:
            found["data"]["result"] = _without_value(result)
    elif mode is Mode.EMPTY:
        found["data"]["result"] = []
    else:
        for series in result:
            if "value" in series:
                series["value"] = _without_value(series["value"])
            if "values" in series:
                series["values"] = [_without_value(each) for each in series["values"]]
    return json.dumps(found, separators=(",", ":")).encode()


def _without_value(sample: Any) -> list[Any]:
    return [sample[0], "NaN"]
