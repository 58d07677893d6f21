"""`chartproof tune`: settings of the autoscaler that keep an objective at the least cost."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chartproof import inputs
from chartproof.errors import ChartproofError, ExitCode, InputError, UsageError
from chartproof.simulate import arguments as shared

if TYPE_CHECKING:
    from chartproof.release import Release
    from chartproof.simulate.settings import Settings, Tunable
    from chartproof.simulate.tune_report import Written


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "tune",
        help="settings of the autoscaler that keep an objective at the least cost",
        description="Simulate the release with other weights, targets, bounds, cooldowns and scale-down windows, and "
        "print what cost and attainment can be had, the cheapest settings that keep the objectives, and the values "
        "(of our chart) or the patch (of any other ScaledObject) that set them. Exits with 1 where none keep them.",
        allow_abbrev=False,
    )
    inputs.add_arguments(parser)
    shared.add_traffic(parser)
    shared.add_cluster(parser)
    shared.add_overflow(parser)
    shared.add_objectives(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="also write tune.json, the snippet and a plot (SVG, PNG) there"
    )
    parser.add_argument("--seed", type=shared.count, default=0, metavar="N", help="same seed, same result; default: 0")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Search and print."""
    from chartproof.simulate import tune_report as report  # noqa: PLC0415  (reads the catalog)
    from chartproof.simulate.baselines import Case  # noqa: PLC0415
    from chartproof.simulate.run import demand, subject_of  # noqa: PLC0415
    from chartproof.simulate.settings import tunable  # noqa: PLC0415
    from chartproof.simulate.tune import tune  # noqa: PLC0415

    options = shared.options_of(arguments)
    trace = shared.trace_of(arguments)
    releases = inputs.load(arguments).require_all()
    if len(releases) > 1:
        raise UsageError("one release can be tuned at a time", how="name one preset")
    subject = subject_of(releases[0], cached_share=arguments.cached_prompt_share)
    options = shared.with_gateway(options, subject)
    found = tunable(subject)
    needs = demand(subject, trace)
    shared.require_traffic(needs, trace, arguments)
    if arguments.out is not None:
        _make(arguments.out)
    tuned = tune(Case(subject, trace, options, needs), found, lambda said: print(said, file=sys.stderr))
    written = _checked(arguments, found, tuned.choice.settings)
    described = json.dumps(report.describe(found, trace, options, tuned, written), indent=2, ensure_ascii=False) + "\n"
    if arguments.out is not None:
        report.write_plot(tuned, options, arguments.out)
        _write(arguments.out / "tune.json", described)
        if written.snippet:
            _write(arguments.out / written.file_name, written.text)
    shown = described if arguments.format == "json" else report.text(found, trace, options, tuned, written)
    sys.stdout.write(shown)
    return ExitCode.CLEAN if tuned.met and not written.findings and not written.problem else ExitCode.FINDINGS


def _checked(arguments: argparse.Namespace, found: Tunable, settings: Settings) -> Written:
    """The snippet of a choice, after it was rendered and checked as a user would."""
    from chartproof.simulate.settings import same_scaling  # noqa: PLC0415
    from chartproof.simulate.tune_report import Written  # noqa: PLC0415

    written = Written(found.snippet(settings), found.is_ours)
    if not written.snippet:
        return written
    wanted = found.document(settings)
    try:
        if not found.is_ours:
            return replace(written, findings=_new_findings(found.subject.release, found.release(settings)))
        made = _rendered(arguments, written)
        if not same_scaling(_scaled_object(made, wanted.name), wanted):
            # A formula of the preset's own does not follow from the values: then it is a value itself.
            formula = wanted.get("spec", "advanced", "scalingModifiers", "formula")
            scaling = {**written.snippet["autoscaling"], "formula": formula}
            scaling.pop("waitingWeight", None)
            written = replace(written, snippet={"autoscaling": scaling})
            made = _rendered(arguments, written)
        if not same_scaling(_scaled_object(made, wanted.name), wanted):
            return replace(written, problem="these values do not render as simulated; --set may contradict them")
        return replace(written, findings=_new_findings(found.subject.release, made))
    except ChartproofError as error:
        return replace(written, problem=str(error))


def _rendered(arguments: argparse.Namespace, written: Written) -> Release:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "tuned.yaml"
        file.write_text(written.text, encoding="utf-8")
        overlaid = argparse.Namespace(**{**vars(arguments), "values": [*arguments.values, file]})
        return inputs.load(overlaid).require_all()[0]


def _scaled_object(release: Release, name: str) -> Any:
    found = release.find("ScaledObject", name)
    if found is None:
        raise InputError(f"ScaledObject {name} is not rendered with these values")
    return found


def _new_findings(before: Release, after: Release) -> tuple[Any, ...]:
    """Findings of `after` that `before` does not have, warnings and errors only."""
    from chartproof import check  # noqa: PLC0415
    from chartproof.findings import Severity  # noqa: PLC0415

    known = {(each.rule, each.object, each.path) for each in check.check([before]).releases[0].findings}
    return tuple(
        each
        for each in check.check([after]).releases[0].findings
        if each.severity >= Severity.WARNING and (each.rule, each.object, each.path) not in known
    )


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot be made: {error.strerror}", where=str(directory)) from None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None
