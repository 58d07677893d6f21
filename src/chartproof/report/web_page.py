"""One HTML file that loads nothing from elsewhere: style, drawings and tables are inside."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933; }
table { border-collapse: collapse; } th, td { padding: .25rem .7rem; border-bottom: 1px solid #d9e2ec; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } th { text-align: left; }
tr.ours { font-weight: 600; } svg { max-width: 100%; height: auto; } .note { color: #616e7c; }
pre { background: #f5f7fa; padding: .8rem; overflow-x: auto; } .bad { color: #b3261e; } .good { color: #0b6e4f; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """The whole page; `parts` are HTML."""
    shown = html.escape(title)
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{shown}</title><style>{_STYLE}</style></head><body>
<h1>{shown}</h1>
{body}
</body></html>
"""


def drawings(plots: Iterable[Path]) -> str:
    """The SVG files among the plots, without their XML heads, which have no place inside HTML."""
    texts = [each.read_text(encoding="utf-8") for each in plots if each.suffix == ".svg"]
    return "\n".join(text[text.index("<svg") :] for text in texts)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: frozenset[int] = frozenset()) -> str:
    """Rows of plain text under headings; columns whose index is in `numbers` are aligned to the right."""
    head = "".join(f"<th>{html.escape(each)}</th>" for each in headings)
    body = "".join(f"<tr>{_cells(row, numbers)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cells(row: Sequence[str], numbers: frozenset[int]) -> str:
    return "".join(
        f"<td{' class=number' if index in numbers else ''}>{html.escape(cell)}</td>" for index, cell in enumerate(row)
    )
