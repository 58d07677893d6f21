"""The `chartproof` program: finds the subcommands, runs one, turns errors into exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Sequence

from chartproof import __version__, commands
from chartproof.errors import ChartproofError, ExitCode

_INTERRUPTED = 130
_BROKEN_PIPE = 141
_EPILOG = """exit codes: 0 clean, 1 findings at or above --fail-on, 2 wrong usage, 3 could not run.
Results go to standard output, everything else to standard error."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the program with every subcommand."""
    parser = argparse.ArgumentParser(
        prog="chartproof",
        description="Prove what a Helm chart that serves language models would deploy, before a GPU is paid for.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"chartproof {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND [OPTION]", title="commands")
    for info in pkgutil.iter_modules(commands.__path__):
        module = importlib.import_module(f"{commands.__name__}.{info.name}")
        added = module.add_parser(subparsers)
        if hasattr(module, "run"):
            added.set_defaults(run=module.run)
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    try:
        arguments = build_parser().parse_args(words)
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except ChartproofError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `| head` does. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception:  # noqa: BLE001  (a mistake of ours must not look like the exit code of findings)
        traceback.print_exc()
        print("error: this is a fault in chartproof; please report it with the lines above", file=sys.stderr)
        return int(ExitCode.COULD_NOT_RUN)
    return code
