"""`chartproof cluster` and `chartproof smoke`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chartproof import toolchain
from chartproof.cluster import embedded, state
from chartproof.cluster.smoke import Outcome, Smoke
from chartproof.errors import ExitCode, InputError

_CHART = Path("charts/llm-inference")
_PLATFORM = "platform-eks.yaml"


def register(commands: argparse._SubParsersAction[Any]) -> None:
    """Add both commands to the program's parser."""
    _register_cluster(commands)
    _register_smoke(commands)


def _register_cluster(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "cluster",
        help="start and stop a real Kubernetes API server with simulated GPU nodes",
        description="A real control plane on the loopback interface; GPU nodes appear as pods ask for them.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    up = actions.add_parser("up", help="start a cluster and print how to use it")
    down = actions.add_parser("down", help="end a cluster and remove its data, also after a crash")
    status = actions.add_parser("status", help="list clusters")
    for each in (up, down):
        each.add_argument("--name", default=state.DEFAULT_NAME, help="several may run side by side")
    down.add_argument("--all", action="store_true", help="end every cluster of the state directory")
    status.add_argument("--format", choices=("text", "json"), default="text")
    for each in (up, down, status):
        _add_state_dir(each)
    up.set_defaults(run=_up)
    down.set_defaults(run=_down)
    status.set_defaults(run=_status)


def _register_smoke(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "smoke",
        help="install presets on a real API server, look, upgrade, uninstall",
        description="The platform preset is installed first and stays while the others come and go.",
    )
    parser.add_argument("presets", nargs="+", type=Path, metavar="PRESET", help="values/NAME.yaml")
    parser.add_argument("--chart", type=Path, default=_CHART, help="the chart's directory")
    parser.add_argument(
        "--platform",
        type=Path,
        metavar="PRESET",
        help=f"platform preset; default: {_PLATFORM} beside the first preset, if there is one",
    )
    parser.add_argument("--no-platform", action="store_true", help="install no platform preset")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    _add_state_dir(parser)
    parser.set_defaults(run=_smoke)


def _add_state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="where clusters are kept; default: $XDG_STATE_HOME/chartproof or ~/.local/state/chartproof",
    )


def _up(arguments: argparse.Namespace) -> ExitCode:
    started = time.monotonic()
    with embedded.unwinding():
        cluster = embedded.up(arguments.name, state_dir=arguments.state_dir)
    _tell(f"cluster {arguments.name} is up after {time.monotonic() - started:.1f} s; use it with:")
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    _tell(f"kubectl is {toolchain.resolve('kubectl')}")
    _tell(f"end it with: chartproof cluster down --name {arguments.name}")
    return ExitCode.CLEAN


def _down(arguments: argparse.Namespace) -> ExitCode:
    names = [arguments.name]
    if arguments.all:
        names = [each.name for each in embedded.status(arguments.state_dir)]
    for name in names:
        existed = embedded.down(name, state_dir=arguments.state_dir)
        _tell(f"cluster {name} {'is gone' if existed else 'did not exist'}")
    return ExitCode.CLEAN


def _status(arguments: argparse.Namespace) -> ExitCode:
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


def _smoke(arguments: argparse.Namespace) -> ExitCode:
    presets: list[Path] = arguments.presets
    for each in presets:
        if not each.is_file():
            raise InputError("there is no such preset", where=str(each), how="give the path of a values file")
    platform = _platform(arguments)
    models = [each for each in presets if platform is None or each.resolve() != platform.resolve()]
    started = time.monotonic()
    toolchain.ensure((*toolchain.RENDERING, *toolchain.CONTROL_PLANE))
    with embedded.running(state_dir=arguments.state_dir) as cluster:
        _tell(f"cluster: up, {time.monotonic() - started:.1f} s")
        smoke = Smoke(cluster, arguments.chart, tell=_tell)
        outcomes = []
        if platform is None:
            outcomes += [smoke.model(each) for each in models]
        else:
            with smoke.platform(platform) as installed:
                outcomes.append(installed)
                outcomes += [smoke.model(each, installed) for each in models]
    seconds = round(time.monotonic() - started, 1)
    if arguments.format == "json":
        print(json.dumps({"releases": [asdict(each) for each in outcomes], "seconds": seconds}, indent=2))
    else:
        for outcome in outcomes:
            _print(outcome)
        print(f"{len(outcomes)} releases in {seconds} s, and everything is taken down again")
    return ExitCode.FINDINGS if any(outcome.problems for outcome in outcomes) else ExitCode.CLEAN


def _platform(arguments: argparse.Namespace) -> Path | None:
    if arguments.no_platform:
        return None
    if arguments.platform is not None:
        if not arguments.platform.is_file():
            raise InputError("there is no such preset", where=str(arguments.platform))
        return Path(arguments.platform)
    beside: Path = arguments.presets[0].parent / _PLATFORM
    return beside if beside.is_file() else None


def _print(outcome: Outcome) -> None:
    """One release as people read it: verdict, times, what was placed where."""
    print(f"{outcome.preset}: {'FAILED' if outcome.problems else 'passed'}")
    print(f"  {', '.join(f'{each.name} {each.seconds:.1f} s' for each in outcome.steps)}")
    for pod in outcome.places:
        made_by = f"pool {pod.pool}, {pod.capacity_type}" if pod.pool else "no pool"
        gpus = f"{pod.gpus} GPU" if pod.gpus else "no GPU"
        print(f"  {pod.pod}  {gpus}  on {pod.node}: {pod.instance}, {made_by}, {pod.zone}")
    for each in outcome.provided:
        print(f"  provided by the harness: {each}")
    for each in outcome.kept:
        print(f"  kept on purpose after the uninstall: {each}")
    for each in outcome.problems:
        print(f"  problem: {each}")


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
