"""`chartproof smoke`: presets through their whole life on a real API server."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chartproof.commands.cluster import add_state_dir
from chartproof.errors import ExitCode, InputError

if TYPE_CHECKING:
    from chartproof.cluster.smoke import Outcome

_CHART = Path("charts/llm-inference")
_PLATFORM = "platform-eks.yaml"


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "smoke",
        help="install presets on a real API server, look, upgrade, uninstall",
        description="The platform preset is installed first and stays while the others come and go.",
        allow_abbrev=False,
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
    parser.add_argument(
        "--timeout", type=int, default=120, metavar="SECONDS", help="most that one step may take; default: 120"
    )
    add_state_dir(parser)
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Take every preset through its life; findings are what was not as it should be."""
    from chartproof import helm, toolchain  # noqa: PLC0415  (with the cluster, not needed for --help)
    from chartproof.cluster import embedded  # noqa: PLC0415
    from chartproof.cluster.smoke import Smoke, rendering  # noqa: PLC0415

    presets: list[Path] = arguments.presets
    for each in presets:
        if not each.is_file():
            raise InputError("there is no such preset", where=str(each), how="give the path of a values file")
    platform = _platform(arguments)
    models = [each for each in presets if platform is None or each.resolve() != platform.resolve()]
    started = time.monotonic()
    # A preset that does not render must not cost the start of a cluster.
    for each in presets if platform is None else [platform, *models]:
        helm.render(rendering(arguments.chart, each))
    toolchain.ensure((*toolchain.RENDERING, *toolchain.CONTROL_PLANE))
    with embedded.running(state_dir=arguments.state_dir) as cluster:
        _tell(f"cluster: up, {time.monotonic() - started:.1f} s")
        smoke = Smoke(cluster, arguments.chart, tell=_tell, timeout_seconds=arguments.timeout)
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
