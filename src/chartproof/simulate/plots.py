"""Plots of runs as SVG and PNG, the same bytes for the same results.

matplotlib is imported here only, and only when plots are asked for: it is the extra `plot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chartproof.errors import InputError
from chartproof.simulate.run import Result

_OURS = "#0b6e4f"
_OTHERS = "#9aa5b1"
_LIMIT = "#d1495b"
_TRAFFIC = "#3d5a80"
#: Tells baselines apart that share a colour.
_STYLES = ("solid", "dashed", "dotted", "dashdot", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
#: Files differ by what matplotlib writes into them unless these are fixed.
_FIXED: Any = {"svg.hashsalt": "chartproof", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9.0}
_NO_DATE: dict[str, dict[str, Any]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
#: More points than this cannot be seen.
_MOST_POINTS = 2000
_HOUR = 3600.0


def write_plots(results: Sequence[Result], directory: Path, *, seed: int) -> list[Path]:
    """Write timeline, latency and (for several runs) cost, each as SVG and PNG. Raises InputError."""
    try:
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise InputError("plots need matplotlib", how="pip install 'chartproof[plot]'") from None
    written: list[Path] = []
    with mpl.rc_context(_FIXED):
        drawn = [("timeline", _timeline(Figure, results[0], seed)), ("latency", _latency(Figure, results, seed))]
        if len(results) > 1:
            drawn.append(("cost", _cost(Figure, results, seed)))
        for name, figure in drawn:
            for ending, metadata in _NO_DATE.items():
                path = directory / f"{name}.{ending}"
                figure.savefig(path, format=ending, metadata=metadata, dpi=120)
                written.append(path)
    return written


def _timeline(figure_class: Any, result: Result, seed: int) -> Any:
    step = max(1, len(result.samples) // _MOST_POINTS)
    samples = result.samples[::step]
    hours = [each.time / _HOUR for each in samples]
    figure = figure_class(figsize=(9, 5.2), layout="constrained")
    traffic, replicas, requests = figure.subplots(3, 1, sharex=True)
    traffic.plot(hours, [each.arrivals for each in samples], color=_TRAFFIC, linewidth=0.8)
    traffic.set_ylabel("requests/s")
    replicas.step(hours, [each.replicas for each in samples], where="post", color=_OTHERS, label="wanted")
    replicas.fill_between(
        hours, [each.ready for each in samples], step="post", color=_OURS, alpha=0.5, linewidth=0, label="ready"
    )
    replicas.set_ylabel("replicas")
    replicas.legend(loc="upper right", frameon=False)
    requests.plot(hours, [each.running for each in samples], color=_OURS, linewidth=0.8, label="running")
    requests.plot(hours, [each.waiting for each in samples], color=_LIMIT, linewidth=0.8, label="waiting")
    requests.set_ylabel("requests")
    requests.set_xlabel("hours")
    requests.legend(loc="upper right", frameon=False)
    for axes in (traffic, replicas, requests):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    traffic.set_title(f"{result.policy} under {result.trace} (seed {seed})", loc="left")
    return figure


def _latency(figure_class: Any, results: Sequence[Result], seed: int) -> Any:
    figure = figure_class(figsize=(9, 3.6), layout="constrained")
    first, end = figure.subplots(1, 2, sharey=True)
    for index, result in enumerate(results):
        colour = _OURS if not index else _LIMIT if result.policy == "oracle" else _OTHERS
        width = 1.6 if not index else 0.9
        for axes, curve in ((first, result.ttft_curve), (end, result.end_to_end_curve)):
            axes.plot(
                [seconds for seconds, _ in curve],
                [percent for _, percent in curve],
                color=colour,
                linewidth=width,
                linestyle=_STYLES[index % len(_STYLES)] if colour == _OTHERS else "solid",
                label=result.policy,
                zorder=2 if index else 3,
            )
    for axes, title in ((first, "time to first token"), (end, "end to end")):
        if any(each.finished for each in results):
            axes.set_xscale("log")
        axes.set_xlabel(f"{title}, seconds")
        axes.spines[["top", "right"]].set_visible(False)
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
    colours = [_OURS if each is results[0] else _LIMIT if each.policy == "oracle" else _OTHERS for each in ordered]
    axes.barh(positions, [each.usd for each in ordered], color=colours, height=0.65)
    axes.set_yticks(positions, [each.policy for each in ordered])
    most = max((each.usd for each in ordered), default=0.0) or 1.0
    for position, each in zip(positions, ordered, strict=True):
        label = f" ${each.usd:.2f}, {each.attainment:.1f} % attained"
        axes.text(each.usd + most * 0.005, position, label, va="center", fontsize=8)
    axes.set_xlim(0, most * 1.3)
    axes.set_xlabel("dollars for the trace")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"Cost and attainment (seed {seed})", loc="left")
    return figure
