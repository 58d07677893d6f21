"""docs/cli.md: every command with its arguments, from the parser itself.

Not argparse's own help text: its layout differs between Python versions.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from chartproof.cli import build_parser
from ci.generate.artifacts import Artifact, cell

_PATH = Path("docs/cli.md")


def artifacts() -> Iterator[Artifact]:
    """The page."""
    parser = build_parser()
    lines = ["# The command line", "", "<!-- Generated from the program by `make generate`. -->", ""]
    lines += [parser.description or "", "", (parser.epilog or "").replace("exit codes:", "Exit codes:")]
    for command in _subcommands(parser):
        lines += _section(command, level=2)
    yield Artifact(_PATH, "\n".join(lines).rstrip() + "\n")


def _section(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    yield from ("", f"{'#' * level} `{parser.prog}`", "", cell(parser.description or ""))
    rows = [row for group in parser._action_groups for row in _rows(group)]  # noqa: SLF001  (argparse offers no other way)
    if rows:
        yield from ("", "| Argument | Meaning |", "|---|---|", *rows)
    for each in _subcommands(parser):
        yield from _section(each, level + 1)


def _rows(group: argparse._ArgumentGroup) -> Iterator[str]:
    for action in group._group_actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):  # noqa: SLF001
            continue
        meaning = cell((action.help or "") % {**vars(action), "prog": ""})
        yield f"| `{_invocation(action)}` | {meaning} |"


def _invocation(action: argparse.Action) -> str:
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else None
    operand = action.metavar or choices or action.dest.upper()
    operand = operand if isinstance(operand, str) else " ".join(operand)
    if not action.option_strings:
        return f"{operand} ..." if action.nargs in {"*", "+"} else operand
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {operand}"


def _subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, subparser in action.choices.items():
                described = {each.dest: each.help for each in action._choices_actions}  # noqa: SLF001
                subparser.description = subparser.description or _sentence(described.get(name) or "")
                yield subparser


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
