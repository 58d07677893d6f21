"""How long rendering and checking a preset takes, against one plain `helm template` of it.

`python -m benchmarks.check_presets values/*.yaml` measures both in the same run, since only their ratio
means anything on another machine. Each figure is the best of a few repetitions: what a machine can do,
not what else it was busy with. Every repetition validates anew; only schemas that are read stay read, as
within one run of the command.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chartproof import check, helm, inputs
from chartproof.schema import Engine, JsonSchemaEngine, KubeconformEngine, SchemaCheck, SchemaStore


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seconds for one preset."""

    name: str
    helm: float
    render_and_check: float

    @property
    def ratio(self) -> float:
        """How many plain renders a render with its check costs."""
        return self.render_and_check / self.helm


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; exits with 0 whatever the figures are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.check_presets", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("presets", nargs="+", type=Path, metavar="PRESET")
    parser.add_argument("--repetitions", type=int, default=5, help="default: 5")
    arguments = parser.parse_args(words)
    store = SchemaStore()
    engines = (JsonSchemaEngine(store), KubeconformEngine(store))
    measurements = [_measure(preset, engines, arguments.repetitions) for preset in arguments.presets]
    width = max(len(each.name) for each in measurements)
    print(f"{'preset':{width}}  helm template  render+check  ratio")
    for each in measurements:
        figures = f"{_milliseconds(each.helm, 13)}  {_milliseconds(each.render_and_check, 12)}  {each.ratio:5.2f}"
        print(f"{each.name:{width}}  {figures}")
    print(f"median ratio {statistics.median(each.ratio for each in measurements):.2f}")
    _print_processes(arguments.presets, sum(each.helm for each in measurements), arguments.repetitions)
    return 0


def _measure(preset: Path, engines: Sequence[Engine], repetitions: int) -> Measurement:
    rendering = helm.Rendering(inputs.find_chart(preset), preset.stem, helm.release_name(preset.stem), (preset,))
    plain = [str(helm.program()), "template", rendering.name, str(rendering.chart), "--values", str(preset)]

    def template() -> None:
        subprocess.run(plain, check=True, stdout=subprocess.DEVNULL)

    def render_and_check() -> None:
        check.check([helm.render(rendering)], schemas=SchemaCheck(engines=engines))

    return Measurement(preset.stem, _best(template, repetitions), _best(render_and_check, repetitions))


def _print_processes(presets: Sequence[Path], plain: float, repetitions: int) -> None:
    """The command as users start it, with Python's own start."""
    command = [sys.executable, "-m", "chartproof", "check", "--exit-zero", *map(str, presets)]

    def run() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    seconds = _best(run, repetitions)
    print(
        f"`chartproof check` of all {len(presets)}: {seconds:.2f} s, "
        f"{seconds / plain:.2f} times as long as their plain renders one after another"
    )


def _best(work: Callable[[], None], repetitions: int) -> float:
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _milliseconds(seconds: float, width: int) -> str:
    return f"{seconds * 1000:{width - 3}.0f} ms"


if __name__ == "__main__":
    raise SystemExit(main())
