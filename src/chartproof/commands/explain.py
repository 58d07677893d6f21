"""`chartproof explain`: the page of one rule, offline."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from chartproof.errors import ExitCode


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="say what a rule means, why it matters and how to comply",
        description="Print the page of one rule: what it finds, why that hurts, bad and good manifests, references.",
        allow_abbrev=False,
    )
    parser.add_argument("rule", metavar="RULE", help="id or name, e.g. LLM201 or cooldown-below-cold-start")
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the page."""
    from chartproof.check import find_rule  # noqa: PLC0415  (loads every rule)

    rule = find_rule(arguments.rule)
    sys.stdout.write(f"{rule.id} {rule.name} ({rule.severity})\n\n{rule.documentation}\n")
    return ExitCode.CLEAN
