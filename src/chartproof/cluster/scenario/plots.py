"""The plot of a scenario: everything over one axis of time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chartproof.cluster.scenario.timeline import Sample, Timeline
from chartproof.report.figures import LIMIT, OTHERS, OURS, TRAFFIC, bare, write_figures

_MINUTE = 60.0
#: More dots than this cannot be seen.
_MOST_DOTS = 3000


def write_plots(timeline: Timeline, directory: Path) -> list[Path]:
    """Write timeline.svg and timeline.png. Raises InputError where matplotlib is missing."""
    return write_figures({"timeline": partial(_draw, timeline=timeline)}, directory)


def _draw(figure_class: Any, timeline: Timeline) -> Any:
    figure = figure_class(figsize=(10, 11), layout="constrained")
    panels = figure.subplots(6, 1, sharex=True, height_ratios=(3, 3, 3, 2, 3, 2))
    requests, metric, replicas, nodes, latency, dollars = panels
    samples, setting = timeline.samples, timeline.setting
    minutes = [each.second / _MINUTE for each in samples]
    _requests(requests, minutes, samples)
    _metric(metric, minutes, timeline)
    _replicas(replicas, minutes, timeline)
    _nodes(nodes, minutes, samples)
    _latency(latency, timeline)
    dollars.plot(minutes, [each.usd for each in samples], color=OURS, linewidth=1.2)
    dollars.set_ylabel("$ so far")
    dollars.set_xlabel("simulated minutes")
    for axes in panels:
        axes.set_ylim(bottom=0)
        _phases(axes, timeline)
    bare(*panels)
    _name_phases(requests, timeline)
    figure.suptitle(
        f"{setting.subject}: {setting.scenario}, {setting.speed:g} times as fast as real time", x=0.01, ha="left"
    )
    return figure


def _requests(axes: Any, minutes: Sequence[float], samples: Sequence[Sample]) -> None:
    series = (
        [each.running or 0 for each in samples],
        [each.waiting or 0 for each in samples],
        [each.held or 0 for each in samples],
    )
    labels = ("running", "waiting in engines", "held at the front door")
    axes.stackplot(minutes, *series, labels=labels, colors=(OURS, LIMIT, TRAFFIC), alpha=0.75, linewidth=0)
    axes.set_ylabel("requests")
    axes.legend(loc="upper right", frameon=False)


def _metric(axes: Any, minutes: Sequence[float], timeline: Timeline) -> None:
    samples, setting = timeline.samples, timeline.setting
    known = [(minute, each.metric) for minute, each in zip(minutes, samples, strict=True) if each.metric is not None]
    axes.step(
        [x for x, _ in known], [y for _, y in known], where="post", color=TRAFFIC, label="KEDA's composite metric"
    )
    axes.step(
        minutes,
        [setting.target * (each.ready or 0) for each in samples],
        where="post",
        color=OTHERS,
        linestyle="dashed",
        label=f"target x ready ({setting.target:g} each)",
    )
    axes.set_ylabel("metric")
    axes.legend(loc="upper right", frameon=False)


def _replicas(axes: Any, minutes: Sequence[float], timeline: Timeline) -> None:
    samples = timeline.samples
    axes.fill_between(
        minutes, [each.ready or 0 for each in samples], step="post", color=OURS, alpha=0.5, linewidth=0, label="ready"
    )
    axes.step(minutes, [each.replicas or 0 for each in samples], where="post", color=LIMIT, label="wanted")
    for author, marker in (("keda", "^"), ("hpa", "o"), ("other", "x")):
        made = [each for each in timeline.decisions if each.controller == author]
        if made:
            axes.plot(
                [each.second / _MINUTE for each in made],
                [each.after for each in made],
                marker,
                color=LIMIT,
                markersize=4,
                label=f"decided by {author}",
            )
    axes.set_ylabel("replicas")
    axes.legend(loc="upper right", frameon=False)


def _nodes(axes: Any, minutes: Sequence[float], samples: Sequence[Sample]) -> None:
    types = sorted({name for each in samples for name in each.nodes})
    if types:
        series = [[each.nodes.get(name, 0) for each in samples] for name in types]
        axes.stackplot(minutes, *series, labels=types, step="post", alpha=0.7, linewidth=0)
        axes.legend(loc="upper right", frameon=False)
    axes.set_ylabel("nodes")


def _latency(axes: Any, timeline: Timeline) -> None:
    served = [each for each in timeline.requests if each.served and each.first_token is not None]
    step = max(1, len(served) // _MOST_DOTS)
    shown = served[::step]
    axes.plot(
        [each.sent / _MINUTE for each in shown],
        [(each.first_token or each.sent) - each.sent for each in shown],
        ".",
        color=TRAFFIC,
        markersize=2,
        label="time to first token, by when it was sent",
    )
    lost = [each.sent / _MINUTE for each in timeline.lost]
    if lost:
        axes.plot(lost, [0.0] * len(lost), "x", color=LIMIT, markersize=6, clip_on=False, label="lost")
    axes.set_ylabel("seconds")
    axes.legend(loc="upper right", frameon=False)


def _phases(axes: Any, timeline: Timeline) -> None:
    for each in timeline.marks:
        style = "dotted" if each.is_phase else "dashed"
        axes.axvline(each.second / _MINUTE, color=OTHERS, linewidth=0.7, linestyle=style)


def _name_phases(axes: Any, timeline: Timeline) -> None:
    height = axes.get_ylim()[1]
    for each in timeline.marks:
        if each.is_phase:
            axes.text(each.second / _MINUTE, height, f" {each.what}", rotation=20, fontsize=7, va="bottom")
