"""Arguments that the commands which simulate share, and what they mean."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from chartproof.errors import InputError, UsageError

if TYPE_CHECKING:
    from chartproof.simulate.demand import Need
    from chartproof.simulate.measure import Objective
    from chartproof.simulate.run import Options, Subject
    from chartproof.simulate.traffic import Trace

_OBJECTIVE = re.compile(r"(ttft|e2e)_p(\d+(?:\.\d+)?)=(\d+(?:\.\d+)?)(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_DEFAULT_OBJECTIVE = "ttft_p95=2s"
_HOURS = re.compile(r"(\d+(?:\.\d+)?)-(\d+(?:\.\d+)?)")


def add_traffic(parser: argparse.ArgumentParser) -> None:
    """Which trace, and how much of it."""
    traffic = parser.add_argument_group("traffic")
    traffic.add_argument(
        "--trace",
        required=True,
        metavar="FILE|synthetic:NAME",
        help="a trace (Azure, BurstGPT, Mooncake, ServeGen or our CSV), or a made one: constant, diurnal, burst, "
        "office-hours, with ,hours=24,rate=1,variation=1",
    )
    traffic.add_argument("--scale", type=positive, default=1.0, metavar="F", help="multiply the rate; default: 1")
    traffic.add_argument(
        "--hours", metavar="FROM-TO", help="only these hours of the trace, such as 24-48; default: all"
    )
    traffic.add_argument("--prompt-tokens", type=positive, metavar="N", help="mean of prompts where a trace says none")
    traffic.add_argument("--answer-tokens", type=positive, metavar="N", help="mean of answers where a trace says none")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """What the cluster around the release does."""
    cluster = parser.add_argument_group("cluster")
    cluster.add_argument(
        "--front-door-hold",
        type=not_negative,
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
        "--cached-prompt-share",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="0 to 1, of every prompt's tokens that the engine's prefix cache answers; default: 0. A trace that names "
        "the blocks of its prompts (Mooncake) tells by itself",
    )
    cluster.add_argument(
        "--initial-replicas",
        type=count,
        metavar="N",
        help="replicas ready at the start; default: what the first five minutes need",
    )
    cluster.add_argument(
        "--spot-discount", type=share, default=0.0, metavar="SHARE", help="0 to 1, off the on-demand price; default: 0"
    )
    cluster.add_argument(
        "--spot-losses-per-hour", type=not_negative, default=0.0, metavar="RATE", help="per spot node; default: 0"
    )


def add_overflow(parser: argparse.ArgumentParser) -> None:
    """A paid API for what replicas cannot take."""
    overflow = parser.add_argument_group("overflow")
    overflow.add_argument(
        "--overflow-usd",
        type=not_negative,
        metavar="PRICE",
        help="$ per million tokens of a paid API that answers what finds no ready replica; default: what a gateway in "
        "the release falls back to, if there is one",
    )
    overflow.add_argument(
        "--overflow-first-token", type=not_negative, default=1.0, metavar="SECONDS", help="of that API; default: 1"
    )
    overflow.add_argument(
        "--overflow-token", type=not_negative, default=0.02, metavar="SECONDS", help="between its tokens; default: 0.02"
    )
    overflow.add_argument(
        "--overflow-at",
        type=_one_or_more,
        metavar="N",
        help="send it also what comes while replicas hold N requests each; default: only when none is ready",
    )


def add_objectives(parser: argparse.ArgumentParser) -> None:
    """What a run is measured by."""
    parser.add_argument(
        "--slo",
        action="append",
        metavar="LIST",
        help=f"such as ttft_p95=2s,e2e_p99=30s; takes commas and repeats; default: {_DEFAULT_OBJECTIVE}",
    )


def trace_of(arguments: argparse.Namespace) -> Trace:
    """The trace that is asked for. Raises UsageError and InputError."""
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
    found = replace(found, scale=arguments.scale, seed=arguments.seed)
    if arguments.hours is None:
        return found
    match = _HOURS.fullmatch(arguments.hours)
    first, last = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
    if not first < last:
        raise UsageError(f"{arguments.hours!r} is no span of hours", where="--hours", how="such as 24-48")
    return found.between(3600 * first, 3600 * last)


def require_traffic(found: Sequence[Need], trace: Trace, arguments: argparse.Namespace) -> None:
    """Raise InputError where there is not a single request: the hours may lie beyond the trace."""
    if not any(each.per_second for each in found):
        raise InputError(
            "has no request" + (f" in hours {arguments.hours}" if arguments.hours else ""),
            where=trace.name,
            how="name hours that the trace has",
        )


def objectives_of(arguments: argparse.Namespace) -> tuple[Objective, ...]:
    """The objectives that are asked for. Raises UsageError."""
    from chartproof.simulate.measure import Objective  # noqa: PLC0415

    found = []
    for each in ",".join(arguments.slo or [_DEFAULT_OBJECTIVE]).split(","):
        match = _OBJECTIVE.fullmatch(each.strip())
        if match is None or not 0 < float(match[2]) <= 100:  # noqa: PLR2004 - percent
            raise UsageError(f"{each!r} is no objective", how="such as ttft_p95=2s or e2e_p99=30s")
        found.append(Objective(match[1], float(match[2]), float(match[3]) * _UNITS[match[4]]))
    return tuple(found)


def options_of(arguments: argparse.Namespace) -> Options:
    """The options of a run. Raises UsageError."""
    from chartproof.simulate.run import Options  # noqa: PLC0415
    from chartproof.simulate.world import Balancing, Overflow  # noqa: PLC0415

    overflow = None
    if arguments.overflow_usd is not None:
        overflow = Overflow(
            arguments.overflow_usd, arguments.overflow_first_token, arguments.overflow_token, arguments.overflow_at
        )
    elif arguments.overflow_at is not None:
        raise UsageError("--overflow-at needs an API to send requests to", how="give its price with --overflow-usd")
    return Options(
        objectives=objectives_of(arguments),
        seed=arguments.seed,
        hold_seconds=arguments.front_door_hold,
        balancing=Balancing(arguments.balancing),
        initial_replicas=arguments.initial_replicas,
        spot_discount=arguments.spot_discount,
        spot_losses_per_hour=arguments.spot_losses_per_hour,
        overflow=overflow,
    )


def with_gateway(options: Options, subject: Subject) -> Options:
    """The options with the paid API that the release's gateway falls back to, where no other was asked for."""
    from chartproof.simulate.gateway import overflow_of  # noqa: PLC0415

    if options.overflow is not None:
        return options
    return replace(options, overflow=overflow_of(subject.release, subject.plan.container))


def _one_or_more(text: str) -> int:
    number = count(text)
    if not number:
        raise ValueError(text)
    return number


def positive(text: str) -> float:
    """A finite number above 0, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def not_negative(text: str) -> float:
    """A finite number of at least 0, for argparse."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


def share(text: str) -> float:
    """A number from 0 to 1, for argparse."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def count(text: str) -> int:
    """A whole number of at least 0, for argparse."""
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number
