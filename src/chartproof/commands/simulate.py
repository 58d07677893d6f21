"""`chartproof simulate`: what a release does under traffic, in virtual time."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chartproof import inputs
from chartproof.errors import ExitCode, InputError, UsageError
from chartproof.simulate import arguments as shared

if TYPE_CHECKING:
    from chartproof.simulate.run import Result, Subject
    from chartproof.simulate.traffic import Trace


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "simulate",
        help="latency, lost requests and cost under a traffic trace",
        description="Run the rendered ScaledObject, NodePools and engine under a trace of traffic in virtual time: "
        "KEDA and the HPA decide as the real ones, engines and nodes are models.",
        allow_abbrev=False,
    )
    inputs.add_arguments(parser)
    shared.add_traffic(parser)
    shared.add_cluster(parser)
    shared.add_overflow(parser)
    shared.add_objectives(parser)
    parser.add_argument(
        "--without-requests",
        action="store_true",
        help="follow rates only: decisions and cost of long traces at once, no latencies and no objectives",
    )
    parser.add_argument("--against", metavar="NAME,...|all", help="baselines to run too; see docs/simulator.md")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="also write result.json, plots (SVG, PNG) and report.html there"
    )
    parser.add_argument("--seed", type=shared.count, default=0, metavar="N", help="same seed, same result; default: 0")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Simulate and print."""
    from chartproof.simulate import report  # noqa: PLC0415  (reads the catalog)
    from chartproof.simulate.baselines import BASELINES, Case, compare  # noqa: PLC0415
    from chartproof.simulate.run import demand, subject_of  # noqa: PLC0415

    options = replace(shared.options_of(arguments), without_requests=arguments.without_requests)
    baselines = _baselines(arguments.against, list(BASELINES))
    if arguments.without_requests and (baselines or arguments.out or arguments.front_door_hold or options.overflow):
        raise UsageError(
            "--without-requests knows no single request",
            how="leave out --against, --out, --front-door-hold and --overflow-usd, or simulate with requests",
        )
    trace = shared.trace_of(arguments)
    releases = inputs.load(arguments).require_all()
    if len(releases) > 1:
        raise UsageError("one release can be simulated at a time", how="name one preset")
    subject = subject_of(releases[0], cached_share=arguments.cached_prompt_share)
    if not options.without_requests:
        options = shared.with_gateway(options, subject)
    needs = demand(subject, trace)
    if arguments.hours is not None:
        shared.require_traffic(needs, trace, arguments)
    case = Case(subject, trace, options, needs)
    results = compare(case, baselines)
    described = report.describe(subject, trace, options, results)
    summary = report.text(subject, trace, results)
    if arguments.out is not None:
        _write(arguments.out, subject, trace, results, json_text=_json(described), summary=summary, seed=options.seed)
    sys.stdout.write(_json(described) if arguments.format == "json" else summary)
    return ExitCode.CLEAN


def _json(described: dict[str, Any]) -> str:
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def _write(
    directory: Path,
    subject: Subject,
    trace: Trace,
    results: list[Result],
    *,
    json_text: str,
    summary: str,
    seed: int,
) -> None:
    from chartproof.simulate.page import write_page  # noqa: PLC0415
    from chartproof.simulate.plots import write_plots  # noqa: PLC0415

    try:
        directory.mkdir(parents=True, exist_ok=True)
        plots = write_plots(results, directory, seed=seed)
        (directory / "result.json").write_text(json_text, encoding="utf-8")
        write_page(directory / "report.html", subject, trace, results, plots, summary=summary, seed=seed)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(directory)) from None


def _baselines(text: str | None, known: list[str]) -> list[str]:
    if not text:
        return []
    names = known if text == "all" else list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"there is no baseline {name!r}", how=f"all, or some of {', '.join(known)}")
    return names
