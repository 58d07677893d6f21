"""A series as one line of bars, for terminals and plain text."""

from __future__ import annotations

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 72


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """One line of bars from zero to the largest value; each bar is the largest of its share of the values.

    What is below zero has no bar.
    """
    if not values:
        return ""
    width = min(width, len(values))
    cells = [max(0.0, *values[i * len(values) // width : (i + 1) * len(values) // width]) for i in range(width)]
    top = max(cells) or 1.0
    return "".join(" " if not each else _BARS[min(7, int(each / top * 7.999))] for each in cells)
