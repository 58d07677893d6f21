"""Plots of runs: timeline, latency and cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chartproof.report.figures import LIMIT, OTHERS, OURS, TRAFFIC, Draw, bare, write_figures
from chartproof.simulate.run import Result

#: Tells baselines apart that share a colour.
_STYLES = ("solid", "dashed", "dotted", "dashdot", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
#: More points than this cannot be seen.
_MOST_POINTS = 2000
_HOUR = 3600.0


def write_plots(results: Sequence[Result], directory: Path, *, seed: int) -> list[Path]:
    """Write timeline, latency and (for several runs) cost, each as SVG and PNG. Raises InputError."""
    drawings: dict[str, Draw] = {
        "timeline": partial(_timeline, result=results[0], seed=seed),
        "latency": partial(_latency, results=results, seed=seed),
    }
    if len(results) > 1:
        drawings["cost"] = partial(_cost, results=results, seed=seed)
    return write_figures(drawings, directory)


def _timeline(figure_class: Any, result: Result, seed: int) -> Any:
    step = max(1, len(result.samples) // _MOST_POINTS)
    samples = result.samples[::step]
    hours = [each.time / _HOUR for each in samples]
    figure = figure_class(figsize=(9, 5.2), layout="constrained")
    traffic, replicas, requests = figure.subplots(3, 1, sharex=True)
    traffic.plot(hours, [each.arrivals for each in samples], color=TRAFFIC, linewidth=0.8)
    traffic.set_ylabel("requests/s")
    replicas.step(hours, [each.replicas for each in samples], where="post", color=OTHERS, label="wanted")
    replicas.fill_between(
        hours, [each.ready for each in samples], step="post", color=OURS, alpha=0.5, linewidth=0, label="ready"
    )
    replicas.set_ylabel("replicas")
    replicas.legend(loc="upper right", frameon=False)
    requests.plot(hours, [each.running for each in samples], color=OURS, linewidth=0.8, label="running")
    requests.plot(hours, [each.waiting for each in samples], color=LIMIT, linewidth=0.8, label="waiting")
    requests.set_ylabel("requests")
    requests.set_xlabel("hours")
    requests.legend(loc="upper right", frameon=False)
    for axes in (traffic, replicas, requests):
        axes.set_ylim(bottom=0)
    bare(traffic, replicas, requests)
    traffic.set_title(f"{result.policy} under {result.trace} (seed {seed})", loc="left")
    return figure


def _latency(figure_class: Any, results: Sequence[Result], seed: int) -> Any:
    figure = figure_class(figsize=(9, 3.6), layout="constrained")
    first, end = figure.subplots(1, 2, sharey=True)
    for index, result in enumerate(results):
        colour = OURS if not index else LIMIT if result.policy == "oracle" else OTHERS
        width = 1.6 if not index else 0.9
        for axes, curve in ((first, result.ttft_curve), (end, result.end_to_end_curve)):
            axes.plot(
                [seconds for seconds, _ in curve],
                [percent for _, percent in curve],
                color=colour,
                linewidth=width,
                linestyle=_STYLES[index % len(_STYLES)] if colour == OTHERS else "solid",
                label=result.policy,
                zorder=2 if index else 3,
            )
    for axes, title in ((first, "time to first token"), (end, "end to end")):
        if any(each.finished for each in results):
            axes.set_xscale("log")
        axes.set_xlabel(f"{title}, seconds")
        bare(axes)
        axes.grid(visible=True, axis="x", linewidth=0.3)
    first.set_ylabel("percent of all requests")
    first.set_ylim(0, 101)
    figure.suptitle(f"Latency; what is lost never arrives (seed {seed})", x=0.01, ha="left")
    if len(results) > 1:
        end.legend(loc="lower right", frameon=False, fontsize=7)
    return figure


def _cost(figure_class: Any, results: Sequence[Result], seed: int) -> Any:
    figure = figure_class(figsize=(9, 0.8 + 0.42 * len(results)), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(results, key=lambda each: -each.usd)
    positions = range(len(ordered))
    colours = [OURS if each is results[0] else LIMIT if each.policy == "oracle" else OTHERS for each in ordered]
    axes.barh(positions, [each.usd for each in ordered], color=colours, height=0.65)
    axes.set_yticks(positions, [each.policy for each in ordered])
    most = max((each.usd for each in ordered), default=0.0) or 1.0
    for position, each in zip(positions, ordered, strict=True):
        label = f" ${each.usd:.2f}, {each.attainment:.1f} % attained"
        axes.text(each.usd + most * 0.005, position, label, va="center", fontsize=8)
    axes.set_xlim(0, most * 1.3)
    axes.set_xlabel("dollars for the trace")
    bare(axes)
    axes.set_title(f"Cost and attainment (seed {seed})", loc="left")
    return figure
