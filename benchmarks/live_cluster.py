"""How long the live cluster takes to be ready and how much memory it uses, against the light one.

`python -m benchmarks.live_cluster` measures both in the same run, since only their ratio means anything on another
machine: the light cluster is the control plane alone; the live one has KEDA, Prometheus, Karpenter, kubelets and
engines besides. The scenario is played on the live one with the platform beneath, as `make demo` does, and memory of
all its processes and of this one is summed meanwhile. Memory is what processes have for themselves and their share of
what they have together (Pss).
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from chartproof import cluster, inputs
from chartproof.cluster import Live, processes
from chartproof.cluster.scenario.progress import Progress
from chartproof.cluster.scenario.stage import Theatre, prepared
from chartproof.cluster.scenario.surroundings import Embedded
from chartproof.cluster.speed import DEFAULT_FACTOR, Speed

_PAUSE_SECONDS = 0.5


class Memory:
    """The most memory that a cluster's processes and this one had at once, in megabytes."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._over = threading.Event()

    @contextmanager
    def watching(self, directory: Path) -> Iterator[None]:
        """Sum it now and then for the duration of a block."""
        thread = threading.Thread(target=self._watch, args=(directory,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self, directory: Path) -> None:
        while not self._over.wait(_PAUSE_SECONDS):
            pids = [os.getpid(), *processes.of_cluster(directory)]
            self.peak = max(self.peak, sum(map(_megabytes, pids)))


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; exits with 1 where the scenario failed, whatever the figures are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live_cluster", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--preset", type=Path, default=Path("values/llama-3.1-8b-g6e-serverless.yaml"))
    parser.add_argument("--platform", type=Path, default=Path("values/platform-eks.yaml"))
    parser.add_argument("--scenario", default="scale-from-zero")
    parser.add_argument("--speed", type=float, default=DEFAULT_FACTOR, help=f"default: {DEFAULT_FACTOR:g}")
    parser.add_argument("--repetitions", type=int, default=3, help="starts of each cluster; default: 3")
    arguments = parser.parse_args(words)
    light = [_start(None) for _ in range(arguments.repetitions)]
    live = [_start(Live(arguments.speed)) for _ in range(arguments.repetitions)]
    print("ready after, best start     light      live  ratio")
    print(f"{'seconds':<24}{min(light)[0]:9.1f} {min(live)[0]:9.1f}  {min(live)[0] / min(light)[0]:5.2f}")
    chart, speed = inputs.find_chart(arguments.preset), Speed(arguments.speed)
    sizings = prepared(arguments.preset, chart, speed)
    memory, progress = Memory(), Progress(sys.stderr)
    with cluster.running(live=Live(arguments.speed)) as running:
        started = time.monotonic()
        with memory.watching(running.place.directory):
            theatre = Theatre(Embedded(running), chart, progress=progress)
            with theatre.platform(arguments.platform):
                played = theatre.play(arguments.preset, sizings, [arguments.scenario])
        seconds = time.monotonic() - started
    resting = min(each[1] for each in light)
    print(f"{'peak memory, MB':<24}{resting:9.0f} {memory.peak:9.0f}  {memory.peak / resting:5.2f}")
    print(f"{arguments.scenario} of {arguments.preset.stem} at {arguments.speed:g} times real time: {seconds:.0f} s")
    for problem in [*played.problems, *(each for result in played.results for each in result.problems)]:
        print(f"problem: {problem}")
    return 0 if played.passed else 1


def _start(live: Live | None) -> tuple[float, float]:
    """Seconds until a cluster is ready, and its memory then."""
    started = time.monotonic()
    with cluster.running(live=live) as running:
        seconds = time.monotonic() - started
        return seconds, sum(map(_megabytes, processes.of_cluster(running.place.directory)))


def _megabytes(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0  # ended meanwhile
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


if __name__ == "__main__":
    sys.exit(main())
