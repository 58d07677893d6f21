"""`chartproof toolchain`: build, locate and list the pinned programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

from chartproof import toolchain
from chartproof.errors import ExitCode
from chartproof.toolchain import pins
from chartproof.toolchain.locate import Location


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "toolchain",
        help="build, locate and list the pinned programs (helm, kubeconform, control plane)",
        description="Programs come from $CHARTPROOF_<NAME>, the cache, PATH, or are built.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="make sure that programs are there; all but optional ones without NAME")
    path = actions.add_parser("path", help="print where programs are, built first where missing")
    status = actions.add_parser("status", help="list every program, its version and its place")
    build.add_argument("names", nargs="*", metavar="NAME", help="e.g. helm")
    path.add_argument("names", nargs="+", metavar="NAME", help="e.g. helm")
    status.add_argument("names", nargs="*", metavar="NAME", help="e.g. helm")
    status.add_argument("--format", choices=("text", "json"), default="text")
    build.set_defaults(run=_build)
    path.set_defaults(run=_path)
    status.set_defaults(run=_status)
    return parser


def _build(arguments: argparse.Namespace) -> ExitCode:
    toolchain.ensure(_names(arguments, pins.usual()))
    return ExitCode.CLEAN


def _path(arguments: argparse.Namespace) -> ExitCode:
    for name in _names(arguments, []):
        print(toolchain.resolve(name))
    return ExitCode.CLEAN


def _status(arguments: argparse.Namespace) -> ExitCode:
    locations = [toolchain.find(name) for name in _names(arguments, pins.programs())]
    if arguments.format == "json":
        print(json.dumps({"programs": [_as_json(each) for each in locations]}, indent=2))
        return ExitCode.CLEAN
    width = max(len(each.program.name) for each in locations)
    for each in locations:
        wanted = pins.modules()[each.program.module].version
        place = str(each.path) if each.path else each.note or f"would be built ({wanted})"
        print(f"{each.program.name:{width}}  {each.version or '-':8}  {each.origin:11}  {place}")
    return ExitCode.CLEAN


def _names(arguments: argparse.Namespace, otherwise: Iterable[str]) -> list[str]:
    """The names asked for, each known, or the others where none is given."""
    return [pins.program(name).name for name in arguments.names] or list(otherwise)


def _as_json(location: Location) -> dict[str, str | None]:
    return {
        "name": location.program.name,
        "pinned": pins.modules()[location.program.module].version,
        "origin": str(location.origin),
        "path": str(location.path) if location.path else None,
        "version": location.version or None,
        "note": location.note or None,
    }
