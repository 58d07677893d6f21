"""`chartproof load`: real streaming requests against an engine, a gateway or the live cluster."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chartproof.errors import ExitCode, InputError, UsageError

if TYPE_CHECKING:
    from chartproof.load.client import Target
    from chartproof.load.generator import Load, Progress
    from chartproof.load.records import RecordFile
    from chartproof.simulate.traffic import Trace


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "load",
        help="send requests to a running engine or gateway and count what is lost",
        description="Send streaming requests to an OpenAI-compatible API when they are due, whether or not those "
        "before were answered, and tell latencies and losses. Lost is whatever is not a whole answer: an error, a "
        "refused or broken connection, a stream without its end. Exits with 1 where a request was lost.",
        allow_abbrev=False,
    )
    parser.add_argument("url", metavar="URL", help="address of the API, such as http://127.0.0.1:8000")
    parser.add_argument("--model", required=True, metavar="NAME", help="the model's served name")
    traffic = parser.add_argument_group("traffic")
    what = traffic.add_mutually_exclusive_group(required=True)
    what.add_argument("--rate", type=_positive, metavar="R", help="requests per second, for --duration")
    what.add_argument("--burst", metavar="R@S,...", help="rates one after the other, such as 0.2@300,5@600,0.2@300")
    what.add_argument(
        "--trace",
        metavar="FILE|synthetic:NAME",
        help="a trace, as chartproof simulate takes it; --duration ends it early",
    )
    traffic.add_argument("--duration", type=_positive, metavar="SECONDS", help="with --rate: default 60")
    traffic.add_argument(
        "--scale", type=_positive, default=1.0, metavar="F", help="multiply a trace's rate; default: 1"
    )
    traffic.add_argument("--evenly", action="store_true", help="equal gaps and lengths, where they are drawn else")
    traffic.add_argument(
        "--variation",
        type=_positive,
        metavar="CV",
        help="coefficient of variation of the gaps; default: 1, Poisson",
    )
    traffic.add_argument("--prompt-tokens", type=_positive, metavar="N", help="mean length of prompts; default: 1024")
    traffic.add_argument("--answer-tokens", type=_positive, metavar="N", help="mean length of answers; default: 256")
    traffic.add_argument(
        "--context-tokens", type=_count, metavar="N", help="shorten requests that do not fit this context"
    )
    traffic.add_argument("--seed", type=int, default=0, help="the same seed draws the same requests; default: 0")
    client = parser.add_argument_group("client")
    client.add_argument("--chat", action="store_true", help="chats with text, instead of completions of token ids")
    client.add_argument(
        "--honour-eos",
        action="store_true",
        help="leave the answer's length to the model; for APIs that do not know ignore_eos",
    )
    client.add_argument("--api-key-variable", metavar="NAME", help="environment variable with the API key")
    client.add_argument("--header", action="append", default=[], metavar="NAME: VALUE", help="repeatable")
    client.add_argument("--proxy", default="", metavar="URL", help="HTTP proxy, such as a live cluster's pod network")
    client.add_argument(
        "--timeout", type=_positive, default=1800.0, metavar="SECONDS", help="of one request; default: 1800"
    )
    client.add_argument(
        "--speed",
        type=_positive,
        default=1.0,
        metavar="F",
        help="simulated seconds in a real one, of a live cluster; all seconds here are simulated; default: 1",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write a record of each request, JSON lines")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Send everything and print the summary, also after Ctrl-C. Raises UsageError and InputError."""
    try:
        import aiohttp as _aiohttp  # noqa: F401, PLC0415  (an extra: said here, where it can be helped)
    except ImportError:
        raise InputError("sending requests needs aiohttp", how="pip install 'chartproof[live]'") from None
    import asyncio  # noqa: PLC0415

    from chartproof.cluster.speed import Speed  # noqa: PLC0415
    from chartproof.load.generator import Load  # noqa: PLC0415
    from chartproof.load.records import RecordFile  # noqa: PLC0415

    trace, target = _trace(arguments), _target(arguments)
    # An address or a trace that is none must not cost an output file.
    target.address()
    next(trace.requests(), None)
    reporter = _Reporter()
    file: RecordFile | None
    with RecordFile(arguments.output) if arguments.output else nullcontext() as file:
        load = Load(
            target,
            trace,
            Speed(arguments.speed),
            on_record=file.write if file else None,
            on_progress=reporter,
            seed=arguments.seed,
        )
        try:
            asyncio.run(load.run())
        except KeyboardInterrupt:
            reporter.close()
            _print(load, arguments.format)
            raise
        finally:
            reporter.close()
    return ExitCode.FINDINGS if _print(load, arguments.format) else ExitCode.CLEAN


def _print(load: Load, form: str) -> int:
    """Print the summary; how many requests were lost."""
    from chartproof.load.records import summarize  # noqa: PLC0415

    summary = summarize(load.records)
    sys.stdout.write(json.dumps(summary.as_json(), indent=2) + "\n" if form == "json" else summary.text())
    sys.stdout.flush()
    return summary.lost


class _Reporter:
    """Tells how far it is: on a terminal in one line that changes, else not at all."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, progress: Progress) -> None:
        if self._shown:
            line = f"{progress.seconds:7.0f} s  {progress.sent} sent, {progress.open} open, {progress.lost} lost"
            print(f"\r{line:<60}", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self._shown:
            print(file=sys.stderr)
            self._shown = False


def _trace(arguments: argparse.Namespace) -> Trace:
    from chartproof.load import arrivals  # noqa: PLC0415

    lengths = {
        name: value
        for name, value in (("prompt_tokens", arguments.prompt_tokens), ("answer_tokens", arguments.answer_tokens))
        if value is not None
    }
    if arguments.trace is not None:
        if arguments.evenly or arguments.variation:
            raise UsageError("--evenly and --variation are for --rate and --burst", how="a trace says its own")
        trace = arrivals.of_trace(arguments.trace, scale=arguments.scale, seed=arguments.seed, **lengths)
        if arguments.duration:
            trace = trace.between(0, arguments.duration)
    else:
        trace = _made(arguments, lengths)
    return arrivals.fitted(trace, arguments.context_tokens) if arguments.context_tokens else trace


def _made(arguments: argparse.Namespace, lengths: dict[str, float]) -> Trace:
    from chartproof.load.arrivals import Piece, drawn, evenly, pieces_of  # noqa: PLC0415

    if arguments.burst is not None:
        if arguments.duration:
            raise UsageError("--duration is for --rate and --trace", how="a burst says its own: rate@seconds,...")
        pieces = pieces_of(arguments.burst)
    else:
        pieces = (Piece(arguments.rate, arguments.duration or 60.0),)
    if arguments.scale != 1:
        raise UsageError("--scale is for --trace", how="give the rate itself")
    if arguments.evenly:
        if arguments.variation:
            raise UsageError("--evenly and --variation contradict each other", how="leave one out")
        return evenly(pieces, **lengths)
    return drawn(pieces, variation=arguments.variation or 1.0, seed=arguments.seed, **lengths)


def _target(arguments: argparse.Namespace) -> Target:
    from chartproof.load.client import Target  # noqa: PLC0415

    headers = {}
    for each in arguments.header:
        name, colon, value = each.partition(":")
        if not (colon and name.strip()):
            raise UsageError(f"{each!r} is no header", how='--header "NAME: VALUE"')
        headers[name.strip()] = value.strip()
    if arguments.api_key_variable:
        key = os.environ.get(arguments.api_key_variable)
        if not key:
            raise UsageError(f"the environment variable {arguments.api_key_variable} is empty or missing")
        headers["Authorization"] = f"Bearer {key}"
    return Target(
        arguments.url,
        arguments.model,
        proxy=arguments.proxy,
        headers=headers,
        chat=arguments.chat,
        ignore_eos=not arguments.honour_eos,
        timeout_seconds=arguments.timeout,
    )


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError(text)
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
