"""What a simulated request costs as the work grows, and how long a week takes.

`python -m benchmarks.simulate values/llama-3.1-8b-awq-g6.yaml` runs traces of 1, 10 and 100 hours at one
request per second, then a week with `--week`, and a day of decisions without single requests. Times are those
of the processor, so that what else the machine does counts little; beside each is that of drawing the same
requests and doing nothing with them, in the same run, since only their ratio means anything on another machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from chartproof import helm, inputs
from chartproof.simulate.baselines import Case, run_release
from chartproof.simulate.run import Options, Result, Subject, demand, subject_of
from chartproof.simulate.traffic import Trace, synthetic

HOURS = (1, 10, 100)
DAY_HOURS = 24
WEEK_HOURS = 168

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measurement:
    """Seconds of one run, and of its baseline."""

    hours: float
    result: Result
    seconds: float
    baseline: float

    @property
    def row(self) -> str:
        """As a line of a table."""
        each = 1e6 * self.seconds / self.result.requests
        return (
            f"{self.hours:6g}  {self.result.requests:9}  {self.seconds:8.2f}  {self.baseline:8.2f}  "
            f"{self.seconds / self.baseline:6.1f}  {each:20.1f}  {self.result.most_replicas:13}"
        )


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; exits with 0 whatever the figures are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("preset", type=Path, metavar="PRESET")
    parser.add_argument("--rate", type=float, default=1.0, help="requests per second; default: 1")
    parser.add_argument("--hours", type=float, nargs="+", default=list(HOURS), help="default: 1 10 100")
    parser.add_argument("--decided-hours", type=float, default=DAY_HOURS, help="without requests; default: 24")
    parser.add_argument("--week", action="store_true", help="a week at the end")
    arguments = parser.parse_args(words)
    preset: Path = arguments.preset
    chart = inputs.find_chart(preset)
    release = helm.render(helm.Rendering(chart, preset.stem, helm.release_name(preset.stem), (preset,)))
    subject = subject_of(release)
    heading = "seconds  {:>8}   ratio  microseconds/request  most replicas"
    print(f"{'hours':>6}  {'requests':>9}   {heading.format('drawn')}")
    for hours in [*arguments.hours, *([WEEK_HOURS] if arguments.week else [])]:
        print(measure(subject, hours, arguments.rate).row, flush=True)
    print(f"without requests, beside the same with them\n{'hours':>6}  {'requests':>9}   {heading.format('with')}")
    print(measure_decisions(subject, arguments.decided_hours, arguments.rate).row)
    return 0


def case_of(subject: Subject, hours: float, rate: float, options: Options) -> Case:
    """Day and night at a mean rate."""
    trace = synthetic(f"diurnal,hours={hours:g},rate={rate:g}", prompt_tokens=1024, answer_tokens=256)
    return Case(subject, trace, options, demand(subject, trace))


def measure(subject: Subject, hours: float, rate: float) -> Measurement:
    """A run with every request, beside drawing them."""
    case = case_of(subject, hours, rate, Options())
    baseline, _ = _timed(lambda: _draw(case.trace))
    seconds, result = _timed(lambda: run_release(case))
    return Measurement(hours, result, seconds, baseline)


def measure_decisions(subject: Subject, hours: float, rate: float) -> Measurement:
    """Decisions alone, beside the same hours with every request."""
    baseline, _ = _timed(lambda: run_release(case_of(subject, hours, rate, Options())))
    seconds, result = _timed(lambda: run_release(case_of(subject, hours, rate, Options(without_requests=True))))
    return Measurement(hours, result, seconds, baseline)


def _draw(trace: Trace) -> None:
    for _ in trace.requests():
        pass


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    begun = time.process_time()
    found = call()
    return time.process_time() - begun, found


if __name__ == "__main__":
    raise SystemExit(main())
