"""`chartproof sizes`: instance types for a model."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from typing import Any

from chartproof.errors import ExitCode, UsageError


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "sizes",
        help="instance types for a model, ranked by price per token",
        description="Rank the instance types on which a model of the catalog fits: price per million generated tokens "
        "(requests of 1024 prompt and 256 generated tokens, all replicas of the instance busy, on demand in "
        "us-east-1), requests held, cold start. ~ marks estimates.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="id of a model of the catalog, or a part of it")
    parser.add_argument("--precision", help="only this precision (bf16, fp8, awq-int4, ...); default: all")
    parser.add_argument(
        "--max-model-len", type=int, default=8192, metavar="TOKENS", help="longest request that must fit; default: 8192"
    )
    parser.add_argument(
        "--step-milliseconds",
        type=float,
        default=50.0,
        metavar="MS",
        help="longest time between two tokens; default: 50",
    )
    parser.add_argument("--most", type=int, default=20, metavar="N", help="rows; default: 20")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the ranking. Raises UsageError for a model or precision that the catalog lacks."""
    from chartproof.catalog import catalog  # noqa: PLC0415  (reads the catalog)
    from chartproof.plan.sizes import rank_sizes  # noqa: PLC0415
    from chartproof.report import sizes_report  # noqa: PLC0415

    facts = catalog()
    wanted = arguments.model.lower()
    model = facts.find_model(arguments.model) or next(
        (each for each in facts.models.values() if wanted in each.id.lower()), None
    )
    if model is None:
        near = difflib.get_close_matches(arguments.model, facts.models, n=1, cutoff=0.3)
        known = ", ".join(facts.models)
        raise UsageError(
            f"the catalog has no model {arguments.model!r}",
            how=(f"did you mean {near[0]}? " if near else "") + f"It has {known}",
        )
    if arguments.precision not in (None, *model.weights_gigabytes):
        raise UsageError(
            f"{model.id} has no precision {arguments.precision!r}",
            how=f"take one of {', '.join(model.weights_gigabytes)}",
        )
    sizes = rank_sizes(
        facts,
        model,
        precision=arguments.precision,
        max_model_len=arguments.max_model_len,
        step_milliseconds=arguments.step_milliseconds,
    )[: arguments.most]
    if arguments.format == "json":
        listed = [sizes_report.describe(each) for each in sizes]
        sys.stdout.write(json.dumps({"model": model.id, "sizes": listed}, indent=2) + "\n")
    else:
        sys.stdout.write(sizes_report.text(model, sizes))
    return ExitCode.CLEAN
