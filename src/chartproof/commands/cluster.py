"""`chartproof cluster`: start, end and list embedded clusters."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chartproof import toolchain
from chartproof.errors import ExitCode
from chartproof.signals import unwinding

#: `chartproof.cluster.state.DEFAULT_NAME`; named here because importing the cluster costs every start of the program.
_DEFAULT_NAME = "chartproof"


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "cluster",
        help="start and stop a real Kubernetes API server with simulated GPU nodes",
        description="A real control plane on the loopback interface; GPU nodes appear as pods ask for them.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    up = actions.add_parser("up", help="start a cluster and print how to use it")
    down = actions.add_parser("down", help="end a cluster and remove its data, also after a crash")
    status = actions.add_parser("status", help="list clusters")
    for each in (up, down):
        each.add_argument("--name", default=_DEFAULT_NAME, help="several may run side by side")
    down.add_argument("--all", action="store_true", help="end every cluster of the state directory")
    status.add_argument("--format", choices=("text", "json"), default="text")
    for each in (up, down, status):
        add_state_dir(each)
    up.set_defaults(run=_up)
    down.set_defaults(run=_down)
    status.set_defaults(run=_status)
    return parser


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """Add the option that every command about clusters has."""
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="where clusters are kept; default: $XDG_STATE_HOME/chartproof or ~/.local/state/chartproof",
    )


def _up(arguments: argparse.Namespace) -> ExitCode:
    from chartproof.cluster import embedded  # noqa: PLC0415  (heavy)

    started = time.monotonic()
    with unwinding():
        cluster = embedded.up(arguments.name, state_dir=arguments.state_dir)
    _tell(f"cluster {arguments.name} is up after {time.monotonic() - started:.1f} s; use it with:")
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    _tell(f"kubectl is {toolchain.resolve('kubectl')}")
    _tell(f"end it with: chartproof cluster down --name {arguments.name}")
    return ExitCode.CLEAN


def _down(arguments: argparse.Namespace) -> ExitCode:
    from chartproof.cluster import embedded  # noqa: PLC0415  (heavy)

    names = [arguments.name]
    if arguments.all:
        names = [each.name for each in embedded.status(arguments.state_dir)]
    for name in names:
        existed = embedded.down(name, state_dir=arguments.state_dir)
        _tell(f"cluster {name} {'is gone' if existed else 'did not exist'}")
    return ExitCode.CLEAN


def _status(arguments: argparse.Namespace) -> ExitCode:
    from chartproof.cluster import embedded  # noqa: PLC0415  (heavy)

    clusters = embedded.status(arguments.state_dir)
    if arguments.format == "json":
        rows = [{**asdict(each), "directory": str(each.directory)} for each in clusters]
        print(json.dumps({"clusters": rows}, indent=2))
        return ExitCode.CLEAN
    for each in clusters:
        what = f"{each.server}, {each.nodes} nodes" if each.running else "left over; run cluster down"
        print(f"{each.name}  {'running' if each.running else 'dead'}  {what}  {each.directory}")
    if not clusters:
        _tell("no cluster")
    return ExitCode.CLEAN


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
