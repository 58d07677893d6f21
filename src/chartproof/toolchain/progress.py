"""Tells on stderr that something long is under way, without filling a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TextIO

_TERMINAL_SECONDS = 1.0
_LOG_SECONDS = 30.0


def human(seconds: float) -> str:
    """A duration as people write it: `8 s`, `2 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextmanager
def showing(what: str, *, expected_seconds: float, stream: TextIO | None = None) -> Iterator[None]:
    """Say what runs, how long it has run and how long it takes the first time, until the block ends.

    A terminal gets one line that counts; anything else a line at the start, one each half minute
    and one at the end.
    """
    out = stream or sys.stderr
    started = time.monotonic()
    ended = Event()
    terminal = out.isatty()

    def line() -> str:
        elapsed = human(time.monotonic() - started)
        return f"{what}: {elapsed} (about {human(expected_seconds)} the first time)"

    def tick() -> None:
        while not ended.wait(_TERMINAL_SECONDS if terminal else _LOG_SECONDS):
            print(f"\r\033[K{line()}" if terminal else line(), end="" if terminal else "\n",
                  file=out, flush=True)  # fmt: skip

    print(line(), end="" if terminal else "\n", file=out, flush=True)
    teller = Thread(target=tick, daemon=True)
    teller.start()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    except (KeyboardInterrupt, SystemExit):
        outcome = "interrupted"
        raise
    finally:
        ended.set()
        teller.join()
        start = "\r\033[K" if terminal else ""
        took = human(time.monotonic() - started)
        print(f"{start}{what}: {outcome} in {took}", file=out, flush=True)
