"""Colour, where a person looks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TextIO

from chartproof.findings import Severity

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_SEVERITY_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours text, or leaves it as it is."""

    enabled: bool

    def __call__(self, text: str, *styles: str) -> str:
        """The text in these styles (bold, dim, red, green, yellow, cyan)."""
        if not self.enabled or not styles:
            return text
        return f"\033[{';'.join(_CODES[style] for style in styles)}m{text}\033[0m"

    def severity(self, severity: Severity, text: str) -> str:
        """The text in the colour of a severity."""
        return self(text, _SEVERITY_COLOURS[severity], "bold")


def paint_for(stream: TextIO, mode: str) -> Paint:
    """Colour for a stream by `--color`: always, never, or auto.

    Auto colours a terminal, unless NO_COLOR is set (https://no-color.org) or it is a dumb one.
    """
    if mode == "auto":
        return Paint(stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")
    return Paint(mode == "always")
