"""What a search found, as text for a terminal, as JSON, and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from chartproof.findings import Finding
from chartproof.report.figures import LIMIT, OTHERS, OURS, Draw, bare, write_figures
from chartproof.report.table import table
from chartproof.simulate.run import Options, Result
from chartproof.simulate.settings import Settings, Tunable
from chartproof.simulate.traffic import Trace
from chartproof.simulate.tune import Trial, Tuned

_FIELDS = ("weight", "target", "minimum", "maximum", "cooldown", "window")


@dataclass(frozen=True, slots=True)
class Written:
    """The choice as it is written down: values of our chart or a patch, and what a check said of it.

    `findings` are those that the release did not have before; `problem` says why there was no check, or
    why the snippet does not do what was simulated; both empty is well.
    """

    snippet: dict[str, Any]
    is_values: bool
    findings: tuple[Finding, ...] = ()
    problem: str = ""

    @property
    def text(self) -> str:
        """As YAML."""
        return yaml.safe_dump(self.snippet, sort_keys=False) if self.snippet else ""

    @property
    def file_name(self) -> str:
        """How it is called among the files of `--out`."""
        return "values.yaml" if self.is_values else "patch.yaml"


def text(tunable: Tunable, trace: Trace, options: Options, tuned: Tuned, written: Written) -> str:
    """The summary."""
    objectives = ", ".join(each.name for each in options.objectives)
    subject = tunable.subject
    estimate = " (engine speed is an estimate)" if subject.model.estimate else ""
    scale = f" x {trace.scale:g}" if trace.scale != 1 else ""
    tried = "; ".join(f"{count} on {name}" for name, count in tuned.tried)
    lines = [
        f"{subject.release.name}: {subject.plan.model.id} on {subject.pools[0].instances[0].name}{estimate}",
        f"  trace       {trace.name}{scale}, {tuned.choice.result.requests} requests",
        f"  objectives  {objectives}",
        f"  settings    {tried}",
        *(f"  not tried   {each}" for each in _untried(tunable)),
        "",
    ]
    shown = "\n".join(lines) + "\n" + _table(tuned) + "\n"
    return shown + "\n".join([*_verdict(tuned, options), "", *_snippet(written)]) + "\n"


def _untried(tunable: Tunable) -> list[str]:
    current = tunable.current
    found = []
    if current.weight is None:
        found.append("weight: the formula has no number that multiplies waiting requests")
    if current.target is None:
        found.append("target: several triggers without a formula have a threshold each")
    if current.cooldown is None:
        found.append("cooldown: it never scales to zero")
    return found


def _table(tuned: Tuned) -> str:
    headings = (
        *("", "weight", "target", "min", "max", "cooldown", "window"),
        *("GPU-hours", "of oracle", "$", "attained %", "TTFT p95 s", "lost", "cold starts"),
    )
    shown = list(tuned.front)
    for each in (tuned.choice, tuned.preset):
        if each.settings not in [known.settings for known in shown]:
            shown.append(each)
    rows = [_row(_mark(each, tuned), each.settings, each.result, tuned) for each in shown]
    rows.append(_row("oracle", None, tuned.oracle, tuned))
    return table(headings, rows)


def _mark(trial: Trial, tuned: Tuned) -> str:
    marks = [
        name for name, each in (("as it is", tuned.preset), ("choice", tuned.choice)) if each.settings == trial.settings
    ]
    return ", ".join(marks) or ("meets" if trial.met else "misses")


def _row(mark: str, settings: Settings | None, result: Result, tuned: Tuned) -> list[str]:
    of_oracle = 100 * result.gpu_hours / tuned.oracle.gpu_hours if tuned.oracle.gpu_hours else 0.0
    return [
        mark,
        *(
            "-" if settings is None or getattr(settings, each) is None else f"{getattr(settings, each):g}"
            for each in _FIELDS
        ),
        f"{result.gpu_hours:.2f}",
        f"{of_oracle:.0f} %" if of_oracle else "-",
        f"{result.usd:.2f}",
        f"{result.attainment:.2f}",
        f"{result.ttft[2]:.2f}" if len(result.ttft) > 2 else "-",  # noqa: PLR2004 - the third of PERCENTILES is the 95th
        str(result.lost_requests),
        str(result.cold_starts),
    ]


def _verdict(tuned: Tuned, options: Options) -> list[str]:
    again = tuned.confirmed.result
    under = f"under seed {options.seed + 1}: {again.attainment:.2f} %, {again.gpu_hours:.2f} GPU-hours"
    preset, choice = tuned.preset.result, tuned.choice.result
    if not tuned.choice.met:
        return [f"No settings keep the objectives on this trace; the choice comes closest ({under})."]
    if not tuned.confirmed.met:
        return [f"The choice keeps the objectives with this seed only ({under})."]
    lines = [f"The choice keeps the objectives at the least cost, also {under}."]
    if tuned.choice.settings == tuned.preset.settings:
        lines.append("It is the release as it is: nothing to change.")
    elif preset.gpu_hours:
        change = 100 * (choice.gpu_hours / preset.gpu_hours - 1)
        lines.append(
            f"Beside the release as it is: {change:+.0f} % GPU-hours, "
            f"{choice.attainment - preset.attainment:+.2f} points of attainment."
        )
    return lines


def _snippet(written: Written) -> list[str]:
    if not written.snippet:
        return []
    what = "values" if written.is_values else "a merge patch of the ScaledObject"
    if written.problem:
        checked = f"NOT CHECKED: {written.problem}"
    elif written.findings:
        checked = "chartproof check finds: " + "; ".join(f"{each.rule} {each.message}" for each in written.findings)
    else:
        rendered = "it renders as simulated, and " if written.is_values else ""
        checked = f"{rendered}chartproof check finds nothing new"
    return [f"# {what}; {checked}", written.text.rstrip()]


def describe(tunable: Tunable, trace: Trace, options: Options, tuned: Tuned, written: Written) -> dict[str, Any]:
    """Everything as JSON."""
    return {
        "release": tunable.subject.release.name,
        "scaledObject": tunable.subject.autoscaler.document.identity,
        "trace": {"name": trace.name, "scale": trace.scale, "start": trace.start.isoformat()},
        "seed": options.seed,
        "objectives": [each.name for each in options.objectives],
        "tried": [{"on": name, "settings": count} for name, count in tuned.tried],
        "met": tuned.met,
        "preset": _trial(tuned.preset),
        "choice": _trial(tuned.choice),
        "otherSeed": _trial(tuned.confirmed),
        "front": [_trial(each) for each in tuned.front],
        "oracle": _outcome(tuned.oracle),
        "snippet": written.snippet,
        "snippetKind": "values" if written.is_values else "mergePatch",
        "newFindings": [
            {"rule": each.rule, "severity": str(each.severity), "message": each.message} for each in written.findings
        ],
        "problem": written.problem,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "settings": {each: getattr(trial.settings, each) for each in _FIELDS},
        "met": trial.met,
        **_outcome(trial.result),
    }


def _outcome(result: Result) -> dict[str, Any]:
    return {
        "gpuHours": round(result.gpu_hours, 4),
        "usd": round(result.usd, 4),
        "attainedPercent": round(result.attainment, 4),
        "ttftP95Seconds": round(result.ttft[2], 4) if len(result.ttft) > 2 else None,  # noqa: PLR2004 - as above
        "lost": result.lost_requests,
        "coldStarts": result.cold_starts,
        "mostReplicas": result.most_replicas,
    }


def write_plot(tuned: Tuned, options: Options, directory: Path) -> list[Path]:
    """Draw the front as front.svg and front.png. Raises InputError."""
    drawings: dict[str, Draw] = {"front": partial(_front, tuned=tuned, options=options)}
    return write_figures(drawings, directory)


def _front(figure_class: Any, tuned: Tuned, options: Options) -> Any:
    figure = figure_class(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    hours = [each.result.gpu_hours for each in tuned.front]
    attained = [each.result.attainment for each in tuned.front]
    axes.plot(hours, attained, color=OTHERS, marker="o", markersize=4, linewidth=0.9, drawstyle="steps-post")
    points: Sequence[tuple[str, Result, str]] = (
        ("as it is", tuned.preset.result, OTHERS),
        ("oracle", tuned.oracle, LIMIT),
        ("choice", tuned.choice.result, OURS),
    )
    for label, result, colour in points:
        axes.plot([result.gpu_hours], [result.attainment], color=colour, marker="o", markersize=8, linestyle="none")
        axes.annotate(
            label, (result.gpu_hours, result.attainment), xytext=(6, -12), textcoords="offset points", color=colour
        )
    for each in options.objectives:
        axes.axhline(each.percent, color=LIMIT, linewidth=0.7, linestyle="dashed")
    axes.set_xlabel("GPU-hours")
    axes.set_ylabel("attained, percent of all requests")
    bare(axes)
    axes.set_title(
        f"Cost against {', '.join(each.name for each in options.objectives)} (seed {options.seed})", loc="left"
    )
    return figure
