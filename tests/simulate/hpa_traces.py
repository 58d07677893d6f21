"""Traces of an autoscaler's life: replayed by our controller, and asked of the real one.

A trace is the question that ci/toolchain/hpa-oracle reads; its main.go says what the keys mean.
`python -m tests.simulate.hpa_traces` asks the real controller for tests/simulate/goldens again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chartproof import toolchain
from chartproof.simulate.hpa import Decision, Hpa, HpaSpec, Metric
from chartproof.toolchain import pins
from tests.simulate import hpa_cases

GOLDENS = Path(__file__).parent / "goldens"

#: What the controller's ScalingLimited condition gives as its reason, by ours.
LIMITED = {
    "scale-up policies": "ScaleUpLimit",
    "at most double": "ScaleUpLimit",
    "the maximum": "TooManyReplicas",
    "scale-down policies": "ScaleDownLimit",
    "the minimum": "TooFewReplicas",
    "as the metrics ask": "DesiredWithinRange",
    "held by the stabilization window": "DesiredWithinRange",
}

#: The same of ScalingActive, for passes without a proposal that leave a mark.
INACTIVE = {
    "scaling is disabled at zero replicas": "ScalingDisabled",
    "metrics could not be read": "FailedGetExternalMetric",
}

Trace = Mapping[str, Any]
Told = dict[str, Any]


def ours(trace: Trace) -> list[Told]:
    """What our controller does with a trace."""
    hpa = Hpa(HpaSpec.of(trace["minReplicas"], trace["maxReplicas"], trace["behavior"]))
    replicas = trace["replicas"]
    told = []
    for tick in trace["ticks"]:
        replicas = tick.get("replicas", replicas)
        existing = tick.get("statusReplicas", replicas)
        metrics = [
            Metric(value, each["targetMilli"], each["average"])
            for value, each in zip(tick["values"], trace["metrics"], strict=True)
        ]
        decision = hpa.reconcile(
            tick["milliseconds"] / 1000,
            spec_replicas=replicas,
            status_replicas=existing,
            ready_pods=min(existing, tick.get("readyPods", existing)),
            metrics=metrics,
        )
        replicas = decision.replicas
        told.append(_tell(decision))
    return told


def _tell(decision: Decision) -> Told:
    told: Told = {"replicas": decision.replicas}
    if decision.raw is not None:
        told |= {"proposal": decision.raw, "limited": LIMITED[decision.reason]}
    elif decision.reason in INACTIVE:
        told["inactive"] = INACTIVE[decision.reason]
    return told


def theirs(ticks: Sequence[Mapping[str, Any]], trace: Trace) -> list[Told]:
    """The real controller's answer in the same words.

    Conditions of a pass that does not reach them are those of an earlier one, and left out.
    """
    least, most = trace["minReplicas"], trace["maxReplicas"]
    replicas = trace["replicas"]
    told = []
    for tick, answer in zip(trace["ticks"], ticks, strict=True):
        replicas = tick.get("replicas", replicas)
        found: Told = {"replicas": answer["replicas"]}
        if "proposal" in answer:
            # A negative proposal, which a metric of type Value may give, becomes zero right after it is logged.
            found |= {"proposal": max(0, answer["proposal"]), "limited": answer["scalingLimited"]}
        elif replicas == 0 or least <= replicas <= most:
            found["inactive"] = answer["scalingActive"]
        replicas = answer["replicas"]
        told.append(found)
    return told


class Oracle:
    """The real controller, one trace after another."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, trace: Trace) -> list[dict[str, Any]]:
        """Its answer per tick; raises ValueError for a trace it cannot be led through."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise ValueError("not started with pipes")
        stdin.write(json.dumps(trace) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        ticks: list[dict[str, Any]] = answer.get("ticks", [])
        return ticks


@contextmanager
def oracle(program: Path) -> Iterator[Oracle]:
    """Run the program for as long as the block lasts."""
    command = [str(program)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield Oracle(process)
        finally:
            process.kill()


def version() -> str:
    """Of the Kubernetes whose controller the oracle runs."""
    return pins.modules()["hpa-oracle"].version


def record(case: hpa_cases.Case, asked: Oracle) -> str:
    """The golden file of a case; a tick and its answer per line, so that changes can be read."""
    trace = {key: value for key, value in case.trace.items() if key != "ticks"}
    head = {"why": case.why, "kubernetes": version(), "trace": trace}
    answers = asked.ask(case.trace)
    lines = [f"    {json.dumps(each)}" for each in zip(case.trace["ticks"], answers, strict=True)]
    opened = json.dumps(head, indent=2).removesuffix("\n}")
    ticks = ",\n".join(lines)
    return f'{opened},\n  "ticks": [\n{ticks}\n  ]\n}}\n'


def main() -> None:
    """Write every golden file again."""
    GOLDENS.mkdir(exist_ok=True)
    with oracle(toolchain.resolve("hpa-oracle")) as asked:
        for name, case in hpa_cases.CASES.items():
            (GOLDENS / f"{name}.json").write_text(record(case, asked), encoding="utf-8")
    for each in GOLDENS.glob("*.json"):
        if each.stem not in hpa_cases.CASES:
            each.unlink()


if __name__ == "__main__":
    main()
