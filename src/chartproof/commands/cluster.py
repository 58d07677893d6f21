"""`chartproof cluster`: start, end and list embedded clusters."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chartproof import toolchain
from chartproof.errors import ExitCode, UsageError
from chartproof.signals import unwinding

if TYPE_CHECKING:
    from chartproof.cluster.supervisor import ProcessStatus

#: `chartproof.cluster.state.DEFAULT_NAME`; named here because importing the cluster costs every start of the program.
_DEFAULT_NAME = "chartproof"


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "cluster",
        help="start and stop a real Kubernetes control plane with simulated GPU nodes",
        description="A real control plane on the loopback interface, with real KEDA, Prometheus and Karpenter; "
        "GPU nodes appear as pods ask for them, and what runs on them is played.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    up = actions.add_parser("up", help="start a cluster and print how to use it")
    down = actions.add_parser("down", help="end a cluster and remove its data, also after a crash")
    status = actions.add_parser("status", help="list clusters")
    for each in (up, down):
        each.add_argument("--name", default=_DEFAULT_NAME, help="several may run side by side")
    up.add_argument(
        "--speed",
        type=float,
        metavar="FACTOR",
        help="simulated seconds in a real one; 1 is real time, 15 the default: a scrape or poll every second",
    )
    up.add_argument(
        "--light",
        action="store_true",
        help="control plane and definitions only: pods are ready at once, nothing autoscales",
    )
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
    from chartproof.cluster.live import Live  # noqa: PLC0415  (heavy)

    if arguments.light and arguments.speed is not None:
        raise UsageError("a light cluster has no speed", where="--speed", how="leave out --light or --speed")
    live = None if arguments.light else Live() if arguments.speed is None else Live(arguments.speed)
    started = time.monotonic()
    with unwinding():
        cluster = embedded.up(arguments.name, state_dir=arguments.state_dir, live=live)
    _tell(f"cluster {arguments.name} is up after {time.monotonic() - started:.1f} s; use it with:")
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    _tell(f"kubectl is {toolchain.resolve('kubectl')}")
    if cluster.live:
        door, prometheus = cluster.live.front_door_port, cluster.live.prometheus_port
        _tell(f"time runs {_pace(cluster.live.speed)}; models answer at http://127.0.0.1:{door}/v1")
        _tell(f"Prometheus is http://127.0.0.1:{prometheus}")
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
        speed = "light" if each.speed is None else _pace(each.speed)
        what = f"{speed}, {each.server}, {each.nodes} nodes" if each.running else "left over; run cluster down"
        print(f"{each.name}  {'running' if each.running else 'dead'}  {what}  {each.directory}")
        if each.running and each.processes and not each.supervised:
            print("  the supervisor has ended: what ends now is not started again")
        for process in each.processes:
            row = f"  {process.name:<24} {_health(process):<9} process {process.pid or '-':<8} {_restarts(process)}"
            print(row.rstrip())
    if not clusters:
        _tell("no cluster")
    return ExitCode.CLEAN


def _pace(speed: float) -> str:
    return "in real time" if speed == 1 else f"{speed:g} times as fast"


def _health(process: ProcessStatus) -> str:
    if process.held:
        return "held down"
    if not process.pid:
        return "ended"
    return "healthy" if process.healthy else "unhealthy"


def _restarts(process: ProcessStatus) -> str:
    if not process.restarts:
        return ""
    times = "once" if process.restarts == 1 else f"{process.restarts} times"
    ended = "" if process.last_exit is None else f", last exit {process.last_exit}"
    return f"restarted {times}{ended}"


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
