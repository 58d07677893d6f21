"""`chartproof plan`: what a release needs and costs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from chartproof import inputs
from chartproof.errors import ExitCode, InputError


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "plan",
        help="memory fit, concurrency, cold start and price of each engine",
        description="Plan each engine workload of the inputs from the catalog's figures: whether the model fits each "
        "GPU it may run on, how many requests a replica holds, its cold start by phase, and its price.",
        allow_abbrev=False,
    )
    inputs.add_arguments(parser)
    parser.add_argument(
        "--compare-delivery",
        type=_positive,
        metavar="REPLICAS",
        help="put every delivery of the weights side by side, for that many replicas that start at once",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the plans."""
    from chartproof.plan import plan_release  # noqa: PLC0415  (reads the catalog)
    from chartproof.report import plan_report  # noqa: PLC0415

    found = []
    for release in inputs.load(arguments).require_all():
        plans = plan_release(release)
        found += [plan_report.describe(release.name, plan, compare=arguments.compare_delivery) for plan in plans]
    if not found:
        raise InputError(
            "no engine whose model is known",
            how="annotate the pods with chartproof.io/model or chartproof.io/weights-gigabytes",
        )
    if arguments.format == "json":
        sys.stdout.write(json.dumps({"plans": found}, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("\n".join(plan_report.text(each) for each in found))
    return ExitCode.CLEAN


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
