"""`chartproof simulate`: what a release does under traffic, in virtual time."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chartproof import inputs
from chartproof.errors import ExitCode, InputError, UsageError

if TYPE_CHECKING:
    from chartproof.simulate.measure import Objective
    from chartproof.simulate.run import Result, Subject
    from chartproof.simulate.traffic import Trace

_OBJECTIVE = re.compile(r"(ttft|e2e)_p(\d+(?:\.\d+)?)=(\d+(?:\.\d+)?)(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DEFAULT_OBJECTIVE = "ttft_p95=2s"


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "simulate",
        help="latency, lost requests and cost under a traffic trace",
        description="Run the rendered ScaledObject, NodePools and engine under a trace of traffic in virtual time: "
        "KEDA and the HPA decide as the real ones, engines and nodes are models.",
        allow_abbrev=False,
    )
    inputs.add_arguments(parser)
    traffic = parser.add_argument_group("traffic")
    traffic.add_argument(
        "--trace",
        required=True,
        metavar="FILE|synthetic:NAME",
        help="a trace (Azure, BurstGPT, Mooncake, ServeGen or our CSV), or a made one: constant, diurnal, burst, "
        "office-hours, with ,hours=24,rate=1,variation=1",
    )
    traffic.add_argument("--scale", type=_positive, default=1.0, metavar="F", help="multiply the rate; default: 1")
    traffic.add_argument("--prompt-tokens", type=_positive, metavar="N", help="mean of prompts where a trace says none")
    traffic.add_argument("--answer-tokens", type=_positive, metavar="N", help="mean of answers where a trace says none")
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument(
        "--front-door-hold",
        type=_not_negative,
        default=0.0,
        metavar="SECONDS",
        help="how long a gateway keeps a request that finds no ready replica; default: 0, it is refused",
    )
    cluster.add_argument(
        "--balancing",
        choices=("random", "round-robin", "least-requests"),
        default="random",
        help="how requests are spread; default: random, as a Service does",
    )
    cluster.add_argument(
        "--initial-replicas",
        type=_count,
        metavar="N",
        help="replicas ready at the start; default: what the first five minutes need",
    )
    cluster.add_argument(
        "--spot-discount", type=_share, default=0.0, metavar="SHARE", help="0 to 1, off the on-demand price; default: 0"
    )
    cluster.add_argument(
        "--spot-losses-per-hour", type=_not_negative, default=0.0, metavar="RATE", help="per spot node; default: 0"
    )
    parser.add_argument(
        "--slo",
        default=_DEFAULT_OBJECTIVE,
        metavar="LIST",
        help=f"such as ttft_p95=2s,e2e_p99=30s; default: {_DEFAULT_OBJECTIVE}",
    )
    parser.add_argument(
        "--without-requests",
        action="store_true",
        help="follow rates only: decisions and cost of long traces at once, no latencies and no objectives",
    )
    parser.add_argument("--against", metavar="NAME,...|all", help="baselines to run too; see docs/simulator.md")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="also write result.json, plots (SVG, PNG) and report.html there"
    )
    parser.add_argument("--seed", type=_count, default=0, metavar="N", help="same seed, same result; default: 0")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Simulate and print."""
    from chartproof.simulate import report  # noqa: PLC0415  (reads the catalog)
    from chartproof.simulate.baselines import BASELINES, Case, compare  # noqa: PLC0415
    from chartproof.simulate.run import Options, demand, subject_of  # noqa: PLC0415
    from chartproof.simulate.world import Balancing  # noqa: PLC0415

    objectives = _objectives(arguments.slo)
    baselines = _baselines(arguments.against, list(BASELINES))
    if arguments.without_requests and (baselines or arguments.out or arguments.front_door_hold):
        raise UsageError(
            "--without-requests knows no single request",
            how="leave out --against, --out and --front-door-hold, or simulate with requests",
        )
    trace = _trace(arguments)
    releases = inputs.load(arguments).require_all()
    if len(releases) > 1:
        raise UsageError("one release can be simulated at a time", how="name one preset")
    subject = subject_of(releases[0])
    options = Options(
        objectives=objectives,
        seed=arguments.seed,
        hold_seconds=arguments.front_door_hold,
        balancing=Balancing(arguments.balancing),
        initial_replicas=arguments.initial_replicas,
        spot_discount=arguments.spot_discount,
        spot_losses_per_hour=arguments.spot_losses_per_hour,
        without_requests=arguments.without_requests,
    )
    case = Case(subject, trace, options, demand(subject, trace))
    results = compare(case, baselines)
    described = report.describe(subject, trace, options, results)
    summary = report.text(subject, trace, results)
    if arguments.out is not None:
        _write(arguments.out, subject, trace, results, json_text=_json(described), summary=summary, seed=options.seed)
    sys.stdout.write(_json(described) if arguments.format == "json" else summary)
    return ExitCode.CLEAN


def _json(described: dict[str, Any]) -> str:
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def _write(
    directory: Path,
    subject: Subject,
    trace: Trace,
    results: list[Result],
    *,
    json_text: str,
    summary: str,
    seed: int,
) -> None:
    from chartproof.simulate.page import write_page  # noqa: PLC0415
    from chartproof.simulate.plots import write_plots  # noqa: PLC0415

    try:
        directory.mkdir(parents=True, exist_ok=True)
        plots = write_plots(results, directory, seed=seed)
        (directory / "result.json").write_text(json_text, encoding="utf-8")
        write_page(directory / "report.html", subject, trace, results, plots, summary=summary, seed=seed)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(directory)) from None


def _trace(arguments: argparse.Namespace) -> Trace:
    from chartproof.simulate import traffic  # noqa: PLC0415
    from chartproof.simulate.trace_files import open_trace  # noqa: PLC0415

    prompt, answer = arguments.prompt_tokens, arguments.answer_tokens
    if arguments.trace.startswith(traffic.SYNTHETIC):
        found = traffic.synthetic(
            arguments.trace.removeprefix(traffic.SYNTHETIC),
            prompt_tokens=prompt or traffic.DEFAULT_PROMPT_TOKENS,
            answer_tokens=answer or traffic.DEFAULT_ANSWER_TOKENS,
        )
    else:
        found = open_trace(Path(arguments.trace), prompt_tokens=prompt, answer_tokens=answer)
    return replace(found, scale=arguments.scale, seed=arguments.seed)


def _objectives(text: str) -> tuple[Objective, ...]:
    from chartproof.simulate.measure import Objective  # noqa: PLC0415

    found = []
    for each in text.split(","):
        match = _OBJECTIVE.fullmatch(each.strip())
        if match is None or not 0 < float(match[2]) <= 100:  # noqa: PLR2004 - percent
            raise UsageError(f"{each!r} is no objective", how="such as ttft_p95=2s or e2e_p99=30s")
        found.append(Objective(match[1], float(match[2]), float(match[3]) * _UNITS[match[4]]))
    return tuple(found)


def _baselines(text: str | None, known: list[str]) -> list[str]:
    if not text:
        return []
    names = known if text == "all" else list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise UsageError(f"there is no baseline {name!r}", how=f"all, or some of {', '.join(known)}")
    return names


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def _not_negative(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number
