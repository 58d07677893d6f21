"""`chartproof smoke`: presets through their whole life on a real API server, and at work on a live cluster."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chartproof.commands.cluster import add_state_dir
from chartproof.errors import ExitCode, InputError, UsageError
from chartproof.manifests import read_text

if TYPE_CHECKING:
    from chartproof.cluster.scenario.sizing import Sizing
    from chartproof.cluster.scenario.stage import Played
    from chartproof.cluster.smoke import Outcome

_CHART = Path("charts/llm-inference")
_PLATFORM = "platform-eks.yaml"
_PLATFORM_PREFIX = "platform-"
#: What a preset's header says of the platform that it is for.
_NEEDS = re.compile(r"^# Needs: (platform-[\w.-]+)[;.]", re.MULTILINE)


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "smoke",
        help="install presets on a real API server, look, upgrade, uninstall; or see them at work under load",
        description="A cluster of its own is started and ended. The platform preset is installed first and stays while "
        "the others come and go. The scenario `life` installs, looks, upgrades and uninstalls, on a control plane; "
        "every other one sends requests to a live cluster with real KEDA, Prometheus and Karpenter and played engines, "
        "and judges what the autoscaling does.",
        allow_abbrev=False,
    )
    parser.add_argument("presets", nargs="+", type=Path, metavar="PRESET", help="values/NAME.yaml")
    parser.add_argument("--chart", type=Path, default=_CHART, help="the chart's directory")
    parser.add_argument(
        "--platform",
        type=Path,
        metavar="PRESET",
        help="platform preset; default: the one beside a preset that its header needs (`# Needs: platform-...`), "
        f"else {_PLATFORM}, if it is there",
    )
    parser.add_argument("--no-platform", action="store_true", help="install no platform preset")
    parser.add_argument(
        "--scenario",
        default="life",
        metavar="NAME,...",
        help="all, or some of life, scale-from-zero, burst, office-hours, drain, rollout, spot-loss; default: life",
    )
    parser.add_argument(
        "--speed", type=float, metavar="F", help="simulated seconds in a real one, of a live cluster; default: 15"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write results.json there, and for each preset and scenario its timeline (JSON), plots and report.html",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument(
        "--timeout", type=int, default=120, metavar="SECONDS", help="most that one step of life may take; default: 120"
    )
    add_state_dir(parser)
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Take every preset through its scenarios; findings are what was not as it should be."""
    names = _scenarios(arguments)
    for each in arguments.presets:
        if not each.is_file():
            raise InputError("there is no such preset", where=str(each), how="give the path of a values file")
    plan = _plan(arguments)
    live = [each for each in names if each != "life"]
    started = time.monotonic()
    prepared = _prepared(arguments, plan, live)
    outcomes = _life(arguments, plan) if "life" in names else []
    played = _scenes(arguments, plan, prepared, live) if live else []
    seconds = round(time.monotonic() - started, 1)
    described = {
        "releases": [asdict(each) for each in outcomes],
        "presets": [each.describe() for each in played],
        "seconds": seconds,
    }
    if arguments.out is not None:
        _write(arguments.out, described)
    if arguments.format == "json":
        print(json.dumps(described, indent=2))
    else:
        _print(outcomes, played, arguments.out)
        print(f"{len(outcomes) + len(played)} releases in {seconds} s, and everything is taken down again")
    failed = any(each.problems for each in outcomes) or not all(each.passed for each in played)
    return ExitCode.FINDINGS if failed else ExitCode.CLEAN


def _scenarios(arguments: argparse.Namespace) -> list[str]:
    """The chosen names; nothing else is loaded for `life` alone."""
    if arguments.scenario == "life":
        for option in ("speed", "out"):
            if getattr(arguments, option) is not None:
                raise UsageError(
                    "is for scenarios on a live cluster", where=f"--{option}", how="choose one with --scenario"
                )
        return ["life"]
    try:
        import aiohttp as _aiohttp  # noqa: F401, PLC0415  (an extra: said here, where it can be helped)
    except ImportError:
        raise InputError("a live cluster needs aiohttp", how="pip install 'chartproof[live]'") from None
    from chartproof.cluster.scenario.definition import chosen  # noqa: PLC0415
    from chartproof.cluster.speed import Speed  # noqa: PLC0415
    from chartproof.report.figures import require_matplotlib  # noqa: PLC0415

    names = chosen(arguments.scenario)
    if arguments.speed is not None:
        Speed(arguments.speed)
    if arguments.out is not None:
        # Missing after minutes of work it would be too late.
        require_matplotlib()
    return names


def _plan(arguments: argparse.Namespace) -> list[tuple[Path | None, list[Path]]]:
    """Platforms, each with the presets that are for it; one that is given itself needs no preset."""
    presets: list[Path] = arguments.presets
    if arguments.no_platform:
        return [(None, presets)]
    if arguments.platform is not None:
        if not arguments.platform.is_file():
            raise InputError("there is no such preset", where=str(arguments.platform))
        platform = Path(arguments.platform)
        return [(platform, [each for each in presets if each.resolve() != platform.resolve()])]
    groups: dict[Path | None, list[Path]] = {}
    for each in presets:
        if each.name.startswith(_PLATFORM_PREFIX):
            groups.setdefault(each, [])
        else:
            groups.setdefault(_platform_of(each), []).append(each)
    return list(groups.items())


def _platform_of(preset: Path) -> Path | None:
    needed = _NEEDS.search(read_text(preset))
    for name in (f"{needed[1]}.yaml" if needed else "", _PLATFORM):
        if name and (preset.parent / name).is_file():
            return preset.parent / name
    return None


def _prepared(
    arguments: argparse.Namespace, plan: Sequence[tuple[Path | None, list[Path]]], live: Sequence[str]
) -> dict[Path, list[Sizing] | InputError]:
    """What scenarios need to know of each preset, or why they cannot be played with it.

    A preset that does not render must not cost the start of a cluster.
    """
    from chartproof import helm  # noqa: PLC0415  (with the cluster, not needed for --help)
    from chartproof.cluster.smoke import rendering  # noqa: PLC0415

    for platform, models in plan:
        for each in models if platform is None else [platform, *models]:
            helm.render(rendering(arguments.chart, each))
    if not live:
        return {}
    from chartproof.cluster.live import Live  # noqa: PLC0415
    from chartproof.cluster.scenario.stage import prepared  # noqa: PLC0415

    speed = Live(arguments.speed).pace if arguments.speed is not None else Live().pace
    found: dict[Path, list[Sizing] | InputError] = {}
    for each in (model for _, models in plan for model in models):
        try:
            found[each] = prepared(each, arguments.chart, speed)
        except InputError as error:
            found[each] = error
    if all(_unplayable(sizings, name) for sizings in found.values() for name in live):
        reasons = [
            f"{preset.stem}, {name}: {_unplayable(sizings, name)}" for preset, sizings in found.items() for name in live
        ]
        raise UsageError(f"none of these scenarios is for any of these presets: {'; '.join(reasons)}")
    return found


def _unplayable(sizings: list[Sizing] | InputError, name: str) -> str:
    """Why no workload of a preset can play a scenario; empty where one can."""
    from chartproof.cluster.scenario.definition import SCENARIOS  # noqa: PLC0415

    if isinstance(sizings, InputError):
        return sizings.what
    reasons = [SCENARIOS[name].excluded(each) for each in sizings]
    return reasons[0] if all(reasons) else ""


def _life(arguments: argparse.Namespace, plan: Sequence[tuple[Path | None, list[Path]]]) -> list[Outcome]:
    """Every preset through its life on a light cluster."""
    from chartproof import toolchain  # noqa: PLC0415
    from chartproof.cluster import embedded  # noqa: PLC0415
    from chartproof.cluster.smoke import Smoke  # noqa: PLC0415

    toolchain.ensure((*toolchain.RENDERING, *toolchain.CONTROL_PLANE))
    started = time.monotonic()
    outcomes: list[Outcome] = []
    with embedded.running(state_dir=arguments.state_dir) as cluster:
        _tell(f"cluster: up, {time.monotonic() - started:.1f} s")
        smoke = Smoke(cluster, arguments.chart, tell=_tell, timeout_seconds=arguments.timeout)
        for platform, models in plan:
            if platform is None:
                outcomes += [smoke.model(each) for each in models]
            else:
                with smoke.platform(platform) as installed:
                    outcomes.append(installed)
                    outcomes += [smoke.model(each, installed) for each in models]
    return outcomes


def _scenes(
    arguments: argparse.Namespace,
    plan: Sequence[tuple[Path | None, list[Path]]],
    prepared: dict[Path, list[Sizing] | InputError],
    names: Sequence[str],
) -> list[Played]:
    """Every preset through its scenarios on a live cluster."""
    from chartproof import toolchain  # noqa: PLC0415
    from chartproof.cluster import embedded  # noqa: PLC0415
    from chartproof.cluster.live import Live  # noqa: PLC0415
    from chartproof.cluster.scenario import report  # noqa: PLC0415
    from chartproof.cluster.scenario.progress import Progress  # noqa: PLC0415
    from chartproof.cluster.scenario.stage import Played, Theatre  # noqa: PLC0415
    from chartproof.cluster.scenario.surroundings import Embedded  # noqa: PLC0415

    toolchain.ensure((*toolchain.RENDERING, *toolchain.CONTROL_PLANE, *toolchain.LIVE_LOOP))
    live = Live(arguments.speed) if arguments.speed is not None else Live()
    progress = Progress(sys.stderr)
    played: list[Played] = []

    def models(theatre: Theatre, presets: Sequence[Path]) -> Iterator[Played]:
        for each in presets:
            sizings = prepared[each]
            if isinstance(sizings, InputError):
                progress.say(f"{each.stem}: cannot be played: {sizings.what}")
                yield Played(each.stem, skipped=dict.fromkeys(names, sizings.what))
                continue
            found = theatre.play(each, sizings, names)
            if arguments.out is not None:
                for result in found.results:
                    report.write(result, arguments.out)
            yield found

    started = time.monotonic()
    with embedded.running(state_dir=arguments.state_dir, live=live) as cluster:
        progress.say(f"cluster: up, {time.monotonic() - started:.1f} s; time runs {live.speed:g} times as fast")
        theatre = Theatre(Embedded(cluster), arguments.chart, progress=progress)
        for platform, presets in plan:
            if platform is None:
                played += models(theatre, presets)
            elif presets:
                with theatre.platform(platform) as installed:
                    played.append(installed)
                    if installed.passed:
                        played += models(theatre, presets)
    return played


def _write(directory: Path, described: dict[str, Any]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "results.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(directory)) from None


def _print(outcomes: Sequence[Outcome], played: Sequence[Played], out: Path | None) -> None:
    from chartproof.cluster.scenario import report  # noqa: PLC0415

    for outcome in outcomes:
        _print_life(outcome)
    for each in played:
        for result in each.results:
            print(report.text(result), end="")
            if out is not None:
                print(f"  report       {out / result.name / 'report.html'}")
        for name, why in each.skipped.items():
            print(f"{each.preset}: {name} is not for it: {why}")
        if not each.results and not each.skipped:
            print(f"{each.preset}: {'passed' if each.passed else 'FAILED'}")
        for line in each.provided:
            print(f"  provided by the harness: {line}")
        for line in each.kept:
            print(f"  kept on purpose after the uninstall: {line}")
        for line in each.problems:
            print(f"  problem: {line}")


def _print_life(outcome: Outcome) -> None:
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
