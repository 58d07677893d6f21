"""Plain text tables: columns as wide as their cells, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows under their headings; a column whose cells all begin with a digit, `$` or `-` is right-aligned."""
    columns = list(zip(headings, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    numeric = [bool(rows) and all(cell[:1] in "$-~0123456789" for cell in column[1:]) for column in columns]
    lines = [headings, ["-" * width for width in widths], *rows]
    return "".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )
