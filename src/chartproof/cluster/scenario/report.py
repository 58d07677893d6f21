"""A scenario's result as text, as a page with its plots, and as JSON."""

from __future__ import annotations

import html
import json
from pathlib import Path

from chartproof.cluster.scenario.judge import reactions
from chartproof.cluster.scenario.plots import write_plots
from chartproof.cluster.scenario.result import (
    PERCENTILES,
    Result,
    end_to_ends,
    first_tokens,
    most_ready,
    percentile,
    usd,
)
from chartproof.cluster.scenario.timeline import Decision, Timeline
from chartproof.errors import InputError
from chartproof.report.sparkline import sparkline
from chartproof.report.web_page import drawings, page, table

_HOUR = 3600


def text(result: Result) -> str:
    """A summary for a terminal."""
    timeline = result.timeline
    setting, samples = timeline.setting, timeline.samples
    alerts = sorted({name for each in samples for name in each.alerts})
    real = timeline.seconds / setting.speed
    lines = [
        f"{setting.subject}: {setting.scenario} {'passed' if result.passed else 'FAILED'}",
        f"  time         {_clock(timeline.seconds)} in {real:.0f} s: {setting.speed:g} times as fast",
        f"  requests     {len(timeline.requests)}, {_lost(timeline)}",
        f"  first token  {_line(first_tokens(timeline))}",
        f"  end to end   {_line(end_to_ends(timeline))}",
        *_bars(timeline),
        f"  paid         ${usd(timeline):.2f} for {_nodes(timeline)}",
        f"  alerts       {', '.join(alerts) or 'none'}",
        *(f"  {_clock(each.second):>9}  {step(each)}{_took(timeline, each)}" for each in timeline.decisions),
        *(f"  remark: {each}" for each in timeline.left),
        *(f"  problem: {each}" for each in result.problems),
    ]
    return "\n".join(lines) + "\n"


def _bars(timeline: Timeline) -> list[str]:
    samples = timeline.samples
    series = (
        ("queue", [each.busy for each in samples]),
        ("metric", [each.metric or 0.0 for each in samples]),
        ("replicas", [float(each.replicas or 0) for each in samples]),
        ("ready", [float(each.ready or 0) for each in samples]),
        ("nodes", [float(each.node_count) for each in samples]),
    )
    return [f"  {name:<12} {sparkline(values)} {max(values, default=0):g}" for name, values in series]


def step(decision: Decision) -> str:
    """A change of replicas in words."""
    value = f", metric {decision.metric:g}" if decision.metric is not None else ""
    return f"{decision.before} -> {decision.after}  {decision.controller}{value}"


def _took(timeline: Timeline, decision: Decision) -> str:
    for each in reactions(timeline):
        if each.decision == decision:
            ready = "never ready" if each.to_ready is None else f"ready {each.to_ready:.0f} s later"
            real = each.to_decide / timeline.setting.speed
            since = "the first request" if each.asked else "the beginning"
            return f"  ({each.to_decide:.0f} s after {since} of {decision.phase!r}, {real:.1f} real; {ready})"
    return ""


def _lost(timeline: Timeline) -> str:
    return f"{len(timeline.lost)} lost" if timeline.lost else "none lost"


def _nodes(timeline: Timeline) -> str:
    most: dict[str, int] = {}
    for each in timeline.samples:
        for instance, count in each.nodes.items():
            most[instance] = max(most.get(instance, 0), count)
    most.pop("claimed", None)
    return "at most " + ", ".join(f"{count} {instance}" for instance, count in most.items()) if most else "no node"


def _line(ordered: list[float]) -> str:
    found = [(percent, percentile(ordered, percent)) for percent in PERCENTILES]
    return "  ".join(f"p{percent:g} {value:.1f} s" for percent, value in found if value is not None) or "-"


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // _HOUR}:{whole // 60 % 60:02}:{whole % 60:02}"


def write(result: Result, directory: Path) -> list[Path]:
    """Write timeline.json, the plots (PNG, SVG) and report.html into a directory of the result's name below this one.

    Raises InputError where that cannot be done.
    """
    place = directory / result.name
    try:
        place.mkdir(parents=True, exist_ok=True)
        described = place / "timeline.json"
        described.write_text(json.dumps(result.describe(), ensure_ascii=False) + "\n", encoding="utf-8")
        plots = write_plots(result.timeline, place)
        shown = place / "report.html"
        shown.write_text(web_page(result, plots), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(place)) from None
    return [shown, described, *plots]


def web_page(result: Result, plots: list[Path]) -> str:
    """One HTML file that loads nothing from elsewhere."""
    timeline = result.timeline
    setting = timeline.setting
    verdict = "passed" if result.passed else "FAILED"
    problems = "".join(f"<li>{html.escape(each)}</li>" for each in result.problems)
    note = (
        f"Kubernetes, KEDA, Prometheus and Karpenter are real; engines, kubelets and clients are played. Time ran "
        f"{setting.speed:g} times as fast: all seconds are those of the release, {timeline.seconds:.0f} in "
        f"{timeline.seconds / setting.speed:.0f} real ones. The formula {setting.formula} gives a replica "
        f"{setting.target:g}. Started {setting.started}."
    )
    figures = f"At most {most_ready(timeline)} replicas served; ${usd(timeline):.2f} were paid for {_nodes(timeline)}."
    parts = [
        f'<p class="{"good" if result.passed else "bad"}"><b>{verdict}</b></p>',
        f'<ul class="bad">{problems}</ul>' if problems else "",
        f'<p class="note">{html.escape(note)}</p>',
        f"<p>{html.escape(figures)}</p>",
        drawings(plots),
        "<h2>What changed the replicas</h2>",
        _decisions(timeline),
        "<h2>Phases and deeds</h2>",
        table(
            ("second", "what"), [(f"{each.second:.0f}", each.what) for each in timeline.marks], numbers=frozenset({0})
        ),
        f"<pre>{html.escape(text(result))}</pre>",
        _altered(result),
    ]
    return page(f"{setting.subject}: {setting.scenario}", [each for each in parts if each])


def _decisions(timeline: Timeline) -> str:
    took = {each.decision: each for each in reactions(timeline)}
    rows = []
    for each in timeline.decisions:
        reaction = took.get(each)
        rows.append(
            (
                f"{each.second:.0f}",
                each.phase,
                each.controller,
                f"{each.before} → {each.after}",
                "" if each.metric is None else f"{each.metric:g}",
                "" if reaction is None else f"{reaction.to_decide:.0f}",
                "" if reaction is None or reaction.to_ready is None else f"{reaction.to_ready:.0f}",
            )
        )
    headings = ("second", "phase", "controller", "replicas", "metric", "s since the phase asked", "s until ready")
    return table(headings, rows, numbers=frozenset({0, 3, 4, 5, 6}))


def _altered(result: Result) -> str:
    if not result.altered:
        return ""
    lines = "\n".join(result.altered)
    return (
        f"<details><summary>What the speed changed in the manifests</summary><pre>{html.escape(lines)}</pre></details>"
    )
