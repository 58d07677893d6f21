"""One HTML file with a run, its comparison and its plots: nothing is loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from chartproof.report.web_page import drawings, page
from chartproof.simulate.run import Result, Subject
from chartproof.simulate.traffic import Trace

#: Ticks that the page lists.
_MOST_TICKS = 200


def write_page(
    path: Path,
    subject: Subject,
    trace: Trace,
    results: Sequence[Result],
    plots: Sequence[Path],
    *,
    summary: str,
    seed: int,
) -> None:
    """Write the page; `plots` are SVG files that are put into it, `summary` the text report of the first run."""
    estimate = "Engine speed is an estimate: no measured profile exists. " if subject.model.estimate else ""
    title = f"{subject.release.name} under {trace.name}"
    note = (
        f"{estimate}Simulated with seed {seed}. The controllers decide as the real ones, engines and nodes are models; "
        "docs/simulator-accuracy.md says how far to trust each figure."
    )
    parts = [
        f'<p class="note">{html.escape(note)}</p>',
        f"<pre>{html.escape(summary)}</pre>",
        _table(results),
        drawings(plots),
        _ticks(results[0]),
    ]
    path.write_text(page(title, parts), encoding="utf-8")


def _table(results: Sequence[Result]) -> str:
    headings = ("policy", "GPU-hours", "$", "attained %", "TTFT p95 s", "end to end p99 s", "lost", "cold starts")
    rows = []
    for index, each in enumerate(results):
        cells = (
            f"{each.gpu_hours:.2f}",
            f"{each.usd:.2f}",
            f"{each.attainment:.2f}",
            f"{each.ttft[2]:.2f}" if each.ttft else "-",
            f"{each.end_to_end[3]:.2f}" if each.end_to_end else "-",
            str(each.lost_requests),
            str(each.cold_starts),
        )
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr{' class=ours' if not index else ''}><td>{html.escape(each.policy)}</td>{numbers}</tr>")
    head = "".join(f"<th>{each}</th>" for each in headings)
    return f"<h2>Policies</h2><table><tr>{head}</tr>{''.join(rows)}</table>"


def _ticks(result: Result) -> str:
    scaled = [each for each in result.ticks if each.replicas != each.current]
    rows = "".join(
        f'<tr><td class="number">{each.time:.0f}</td><td>{each.controller}</td>'
        f'<td class="number">{each.current} → {each.replicas}</td>'
        f'<td class="number">{"" if each.value is None else format(each.value, "g")}</td>'
        f'<td class="number">{_step(each.raw)}</td><td class="number">{_step(each.stabilized)}</td>'
        f'<td class="number">{_step(each.limited)}</td><td>{html.escape(each.reason)}</td></tr>'
        for each in scaled[:_MOST_TICKS]
    )
    head = "".join(
        f"<th>{each}</th>"
        for each in ("second", "controller", "replicas", "value", "asked", "after window", "after policies", "why")
    )
    more = f"<p>{len(scaled) - _MOST_TICKS} more are in result.json.</p>" if len(scaled) > _MOST_TICKS else ""
    return f"<h2>Why it scaled</h2><table><tr>{head}</tr>{rows}</table>{more}"


def _step(value: int | None) -> str:
    return "" if value is None else str(value)
