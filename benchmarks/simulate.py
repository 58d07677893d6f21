"""What a simulated request costs as the work grows, and how long a week takes.

`python -m benchmarks.simulate values/llama-3.1-8b-awq-g6.yaml` runs traces of 1, 10 and 100 hours at one
request per second, then a week with `--week`, and a day of decisions without single requests. Times are those
of the processor, so that what else the machine does counts little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from chartproof import helm, inputs
from chartproof.simulate.baselines import Case, run_release
from chartproof.simulate.run import Options, Subject, demand, subject_of
from chartproof.simulate.traffic import synthetic

HOURS = (1, 10, 100)
DAY_HOURS = 24
WEEK_HOURS = 168


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print; exits with 0 whatever the figures are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.simulate", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("preset", type=Path, metavar="PRESET")
    parser.add_argument("--rate", type=float, default=1.0, help="requests per second; default: 1")
    parser.add_argument("--hours", type=float, nargs="+", default=list(HOURS), help="default: 1 10 100")
    parser.add_argument("--week", action="store_true", help="a week at the end")
    arguments = parser.parse_args(words)
    preset: Path = arguments.preset
    chart = inputs.find_chart(preset)
    release = helm.render(helm.Rendering(chart, preset.stem, helm.release_name(preset.stem), (preset,)))
    subject = subject_of(release)
    print(f"{'hours':>6}  {'requests':>9}  {'seconds':>8}  microseconds/request  most replicas")
    for hours in [*arguments.hours, *([WEEK_HOURS] if arguments.week else [])]:
        _measure(subject, hours, arguments.rate, Options())
    print("without requests")
    _measure(subject, DAY_HOURS, arguments.rate, Options(without_requests=True))
    return 0


def _measure(subject: Subject, hours: float, rate: float, options: Options) -> None:
    trace = synthetic(f"diurnal,hours={hours:g},rate={rate:g}", prompt_tokens=1024, answer_tokens=256)
    begun = time.process_time()
    result = run_release(Case(subject, trace, options, demand(subject, trace)))
    seconds = time.process_time() - begun
    each = 1e6 * seconds / result.requests
    print(f"{hours:6g}  {result.requests:9}  {seconds:8.2f}  {each:20.1f}  {result.most_replicas:13}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
