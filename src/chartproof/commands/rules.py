"""`chartproof rules`: everything that can be found."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from chartproof.errors import ExitCode


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "rules", help="list every rule", description="List every rule: id, severity, name, summary.", allow_abbrev=False
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the list."""
    from chartproof.reserved_rules import documented_rules  # noqa: PLC0415  (loads every rule)

    rules = documented_rules()
    if arguments.format == "json":
        listed = [
            {"id": each.id, "name": each.name, "severity": str(each.severity), "summary": each.summary}
            for each in rules
        ]
        sys.stdout.write(json.dumps({"rules": listed}, indent=2, ensure_ascii=False) + "\n")
    else:
        width = max(len(each.name) for each in rules)
        for each in rules:
            sys.stdout.write(f"{each.id}  {each.severity!s:7}  {each.name:{width}}  {each.summary}\n")
    return ExitCode.CLEAN
