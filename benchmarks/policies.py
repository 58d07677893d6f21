"""The release of a preset against every baseline and the oracle, on public traces.

    python -m benchmarks.policies DIR [--only NAME] [--preset FILE]

DIR holds the traces by the names below (docs/simulator.md says where they come from). Printed is a Markdown
table, a row as soon as it is known. Each row follows the protocol of docs/simulator.md.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from chartproof import helm, inputs
from chartproof.simulate.baselines import BASELINES, Case, dominates, run_release
from chartproof.simulate.demand import percentile
from chartproof.simulate.run import Options, Subject, demand, subject_of
from chartproof.simulate.trace_files import open_trace

PRESET = Path("values/llama-3.1-8b-g6e-serverless.yaml")
CONVERSATION = "azure2023_conv_requests.csv"
CODE_WEEK = "azure2024_code_week_600s_digitised.csv"
REASONING = "servegen_deepseek-r1_1d_600s.csv"
SHORT = "servegen_m-small_14d_600s.csv"
#: Mean answer of the code trace of 2024, which the digitised file does not have (its published summary).
CODE_ANSWER_TOKENS = 23.0


@dataclass(frozen=True, slots=True)
class Row:
    """A trace, what its rate is multiplied with, and which hours of it run (all where they end at 0)."""

    name: str
    file: str
    scale: float
    first_hour: float = 0.0
    last_hour: float = 0.0


ROWS = (
    *(Row(f"conversation x {scale:g}", CONVERSATION, scale) for scale in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)),
    *(Row(f"reasoning x {scale:g}", REASONING, scale) for scale in (0.01, 0.03, 0.08)),
    Row("code x 0.1, a week", CODE_WEEK, 0.1),
    Row("code x 0.2, a week", CODE_WEEK, 0.2),
    Row("short chat x 0.05, hours 0-24", SHORT, 0.05, 0, 24),
    Row("code x 0.4, a week", CODE_WEEK, 0.4),
    Row("short chat x 0.1, hours 8-14", SHORT, 0.1, 8, 14),
)


def case_of(row: Row, subject: Subject, directory: Path) -> Case:
    """The case of one row."""
    trace = open_trace(directory / row.file, answer_tokens=CODE_ANSWER_TOKENS if row.file == CODE_WEEK else None)
    trace = replace(trace, scale=row.scale)
    if row.last_hour:
        trace = trace.between(3600 * row.first_hour, 3600 * row.last_hour)
    return Case(subject, trace, Options(), demand(subject, trace))


def measure(row: Row, subject: Subject, directory: Path) -> str:
    """A line of the table."""
    case = case_of(row, subject, directory)
    ours = run_release(case)
    after = replace(case, attainment=ours.attainment)
    others = [run(after) for name, run in BASELINES.items() if name != "oracle"]
    oracle = BASELINES["oracle"](after)
    as_good = [each for each in others if each.attainment >= ours.attainment - 0.5]
    cheapest = min(as_good, key=lambda each: each.gpu_hours, default=None)
    beaten_by = ", ".join(each.policy for each in others if dominates(each, ours)) or "none"
    cells = (
        row.name,
        str(percentile(case.needs, 100)),
        f"{ours.requests:,}",
        f"{ours.gpu_hours:.2f}",
        f"{ours.attainment:.2f}",
        f"{oracle.gpu_hours:.2f} ({oracle.attainment:.2f})",
        f"{100 * (ours.gpu_hours / oracle.gpu_hours - 1):+.0f} %",
        f"{cheapest.policy} {cheapest.gpu_hours:.2f} ({cheapest.attainment:.2f})" if cheapest else "-",
        beaten_by,
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--only", default="", metavar="NAME", help="rows whose name has this in it")
    parser.add_argument("--preset", type=Path, default=PRESET, metavar="FILE")
    arguments = parser.parse_args()
    preset: Path = arguments.preset
    release = helm.render(helm.Rendering(inputs.CHART, preset.stem, helm.release_name(preset.stem), (preset,)))
    subject = subject_of(release)
    headings = (
        *("trace", "peak need", "requests", "GPU-hours", "attained %", "oracle (attained)", "beside it"),
        *("cheapest baseline as good", "dominated by"),
    )
    print(f"| {' | '.join(headings)} |\n|---|--:|--:|--:|--:|--:|--:|---|---|")
    for row in ROWS:
        if arguments.only in row.name:
            print(measure(row, subject, arguments.directory), flush=True)
            print(f"{row.name} done", file=sys.stderr)


if __name__ == "__main__":
    main()
