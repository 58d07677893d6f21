"""How much memory a simulation of a long trace takes, against a short one.

`python -m benchmarks.long_trace values/llama-3.1-8b-awq-g6.yaml` writes traces of 1, 100 and 1,000 megabytes, simulates
each by its rates in a process of its own, and prints the most memory that this process had, beside that of the
shortest trace in the same run. With `--requests` every request is simulated.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

MEGABYTES = (1, 100, 1000)
PER_SECOND = 40
#: Traces in the wild have columns that are of no use here.
NOTE = "x" * 225


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; exits with 0 whatever the figures are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.long_trace", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("preset", type=Path, metavar="PRESET")
    parser.add_argument("--megabytes", type=float, nargs="+", default=list(MEGABYTES), help="default: 1 100 1000")
    parser.add_argument("--requests", action="store_true", help="simulate every request")
    arguments = parser.parse_args(words)
    command = [sys.executable, "-m", "chartproof", "simulate", str(arguments.preset), "--trace"]
    more = () if arguments.requests else ("--without-requests",)
    smallest = 0.0
    print(f"{'megabytes':>9}  {'requests':>9}  {'peak MiB':>8}  {'ratio':>5}  seconds")
    with tempfile.TemporaryDirectory() as directory:
        for megabytes in arguments.megabytes:
            path = Path(directory) / "trace.csv"
            requests = write(path, megabytes)
            begun = time.monotonic()
            peak = peak_mebibytes([*command, str(path), *more])
            smallest = smallest or peak
            seconds = time.monotonic() - begun
            print(f"{megabytes:9g}  {requests:9}  {peak:8.0f}  {peak / smallest:5.2f}  {seconds:7.0f}", flush=True)
    return 0


def write(path: Path, megabytes: float) -> int:
    """A trace of about this size; its number of requests."""
    row = f"{{:.3f}},100,10,{NOTE}\n"
    requests = max(2, int(megabytes * 1e6 / len(row.format(10_000.0))))
    with path.open("w", encoding="utf-8") as stream:
        stream.write("seconds,promptTokens,answerTokens,note\n")
        stream.writelines(row.format(index / PER_SECOND) for index in range(requests))
    return requests


def peak_mebibytes(command: Sequence[str]) -> float:
    """The most resident memory of a command."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
