"""The release of a preset against every baseline and the oracle, on public traces.

    python -m benchmarks.policies DIR [--only NAME] [--write]

DIR holds the traces by the names below (docs/simulator.md says where they come from). Every row follows the protocol
of docs/simulator.md. With `--write`, rows replace those in `benchmarks/policies.json`, each as soon as it is known;
`make generate` makes the tables of docs/simulator.md of that.

What the table says must not change unseen. The canary is a row of made traffic that is measured again whenever a row
is written, and by a test in a few seconds: when the simulator, the catalog or the preset changes what it comes to, the
test asks for the table to be measured again. Another test measures rows again, where it is told where the traces are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chartproof import helm, inputs
from chartproof.simulate.baselines import BASELINES, Case, compare
from chartproof.simulate.demand import percentile
from chartproof.simulate.run import Options, Subject, demand, subject_of
from chartproof.simulate.trace_files import open_trace
from chartproof.simulate.traffic import synthetic

RESULTS = Path(__file__).with_name("policies.json")
PRESET = Path("values/llama-3.1-8b-g6e-serverless.yaml")
CONVERSATION = "azure2023_conv_requests.csv"
CODE_WEEK = "azure2024_code_week_600s_digitised.csv"
REASONING = "servegen_deepseek-r1_1d_600s.csv"
SHORT = "servegen_m-small_14d_600s.csv"
#: Mean answer of the code trace of 2024, which the digitised file does not have (its published summary).
CODE_ANSWER_TOKENS = 23.0


CANARY = "burst,hours=1,rate=1.5"


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
)


def subject_of_preset() -> Subject:
    """The preset, rendered."""
    release = helm.render(helm.Rendering(inputs.CHART, PRESET.stem, helm.release_name(PRESET.stem), (PRESET,)))
    return subject_of(release)


def case_of(row: Row, subject: Subject, directory: Path) -> Case:
    """The case of one row."""
    trace = open_trace(directory / row.file, answer_tokens=CODE_ANSWER_TOKENS if row.file == CODE_WEEK else None)
    trace = replace(trace, scale=row.scale)
    if row.last_hour:
        trace = trace.between(3600 * row.first_hour, 3600 * row.last_hour)
    return Case(subject, trace, Options(), demand(subject, trace))


def canary_case(subject: Subject) -> Case:
    """Traffic that needs no file."""
    trace = synthetic(CANARY, prompt_tokens=1024, answer_tokens=256)
    return Case(subject, trace, Options(), demand(subject, trace))


def measure(name: str, case: Case) -> dict[str, Any]:
    """A row of the results: what the release, every baseline and the oracle come to."""
    ours, *others = compare(case, list(BASELINES))
    return {
        "name": name,
        "peakNeed": percentile(case.needs, 100),
        "requests": ours.requests,
        "policies": {
            label: {"gpuHours": round(each.gpu_hours, 2), "attained": round(each.attainment, 2)}
            for label, each in [("release", ours), *((each.policy, each) for each in others)]
        },
    }


def results() -> dict[str, Any]:
    """What was measured last."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def write(measured: Sequence[Mapping[str, Any]], canary: Mapping[str, Any]) -> None:
    """Put rows in the place of those of the same name, in the order of ROWS."""
    known = {each["name"]: each for each in results()["rows"]} if RESULTS.is_file() else {}
    known.update({each["name"]: each for each in measured})
    body = {
        "preset": PRESET.stem,
        "objective": Options().objectives[0].name,
        "seed": Options().seed,
        "canary": canary,
        "rows": [known[row.name] for row in ROWS if row.name in known],
    }
    RESULTS.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--only", default="", metavar="NAME", help="rows whose name has this in it")
    parser.add_argument("--write", action="store_true", help=f"also put them into {RESULTS.name}")
    arguments = parser.parse_args()
    subject = subject_of_preset()
    for row in ROWS:
        if arguments.only in row.name:
            found = measure(row.name, case_of(row, subject, arguments.directory))
            print(json.dumps(found), flush=True)
            if arguments.write:
                write([found], measure("canary", canary_case(subject)))
            print(f"{row.name} done", file=sys.stderr)


if __name__ == "__main__":
    main()
