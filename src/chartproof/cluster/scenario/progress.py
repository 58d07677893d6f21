"""What goes on, on standard error: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import shutil
import time
from typing import TextIO

from chartproof.cluster.scenario.timeline import Sample

_PLAIN_SECONDS = 10.0
_CLEAR = "\r\033[K"


class Progress:
    """Tells of one run. Messages stay; the state of things is overwritten, or told now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._changes = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = False
        self._told = 0.0

    def say(self, message: str) -> None:
        """A line that stays."""
        self.clear()
        print(message, file=self._stream, flush=True)

    def show(self, name: str, sample: Sample, *, sent: int, lost: int) -> None:
        """The state of things."""
        line = f"{name}: {state(sample, sent=sent, lost=lost)}"
        if self._changes:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(_CLEAR + line[:width])
            self._stream.flush()
            self._shown = True
        elif time.monotonic() - self._told >= _PLAIN_SECONDS:
            self._told = time.monotonic()
            print(line, file=self._stream, flush=True)

    def clear(self) -> None:
        """Take away the line that changes."""
        if self._shown:
            self._stream.write(_CLEAR)
            self._stream.flush()
            self._shown = False


def state(sample: Sample, *, sent: int, lost: int) -> str:
    """A sample in one line."""
    minutes, seconds = divmod(int(sample.second), 60)
    replicas = "?" if sample.replicas is None else str(sample.replicas)
    metric = "-" if sample.metric is None else f"{sample.metric:g}"
    return (
        f"{minutes:3}:{seconds:02} {sample.phase:<14} replicas {sample.ready or 0}/{replicas}  "
        f"requests {sample.running or 0:.0f} running {sample.waiting or 0:.0f} waiting {sample.held or 0:.0f} held  "
        f"metric {metric}  nodes {sample.node_count}  ${sample.usd:.2f}  sent {sent} lost {lost}"
    )
