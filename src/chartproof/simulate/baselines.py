"""What others use instead, with real defaults, on the same cluster and traffic as the release.

Every baseline may use as many replicas as the release's autoscaler, and starts as warm. The oracle knows
the whole trace: it asks for replicas one cold start before they are needed and has none that is not. How
much is needed is the plan's own reckoning, raised step by step until the oracle attains what the release
does: the least that the release's attainment can be had for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from chartproof.autoscaler import Autoscaler, autoscaler
from chartproof.languages.promql import Query
from chartproof.release import Document
from chartproof.simulate.demand import Need, ahead, percentile
from chartproof.simulate.policies import (
    Bounds,
    KedaPolicy,
    KnativePolicy,
    PlannedPolicy,
    Policy,
    RayServePolicy,
)
from chartproof.simulate.run import Options, Result, Subject, simulate
from chartproof.simulate.traffic import Trace

#: DCGM's utilisation that common tutorials aim at, in percent.
GPU_UTILISATION_TARGET = 80
WAITING_TARGET = 5
#: Working hours of the cron baseline, Monday to Friday, by the trace's own clock.
OFFICE_HOURS = (8, 20)
_WORKING_DAYS = 5
#: Knative's activator keeps requests this long (`max-revision-timeout-seconds`).
KNATIVE_HOLD_SECONDS = 300.0
#: Cold starts vary: the oracle allows for one that is this much longer than planned.
ORACLE_LEAD_FACTOR = 1.25
#: What the oracle multiplies the need with, one after the other.
ORACLE_FACTORS = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 2.0, 3.0)
#: Attainments that differ by less, in points, are equal.
EQUAL_POINTS = 0.5


@dataclass(frozen=True, slots=True)
class Case:
    """Everything the runs of one comparison share. `attainment` is the release's, where it has run already."""

    subject: Subject
    trace: Trace
    options: Options
    needs: Sequence[Need]
    attainment: float | None = None

    @property
    def most(self) -> int:
        """The release's maximum, which bounds every baseline."""
        return self.subject.autoscaler.maximum or 1

    @property
    def fewest(self) -> int:
        """The release's minimum."""
        return self.subject.autoscaler.minimum or 0

    def run(
        self,
        name: str,
        policy: Policy,
        *,
        queries: Sequence[Query] = (),
        low: int = 0,
        hold_seconds: float | None = None,
    ) -> Result:
        """One run of this case."""
        return simulate(
            self.subject,
            self.trace,
            name,
            policy,
            self.options,
            found=self.needs,
            queries=queries,
            low=min(low, self.most),
            high=self.most,
            hold_seconds=hold_seconds,
        )


def run_release(case: Case) -> Result:
    """The release as it is rendered."""
    return _keda(case, case.subject.release.name, case.subject.autoscaler)


def _keda(case: Case, name: str, scaler: Autoscaler) -> Result:
    policy = KedaPolicy(scaler, start=case.trace.start, seed=case.options.seed)
    queries = [each.query for each in scaler.triggers if each.query is not None]
    return case.run(name, policy, queries=queries, low=scaler.minimum or 0)


def _static(case: Case, name: str, replicas: int) -> Result:
    replicas = min(replicas, case.most)
    fixed = replace(case, options=replace(case.options, initial_replicas=replicas))
    return fixed.run(name, PlannedPolicy([(0.0, replicas)], "a fixed count"))


def _static_peak(case: Case) -> Result:
    return _static(case, "static-peak", percentile(case.needs, 100))


def _static_p99(case: Case) -> Result:
    return _static(case, "static-p99", percentile(case.needs, 99))


def _query_scaler(case: Case, query: str, threshold: float, **spec: Any) -> Autoscaler:
    """A ScaledObject with one Prometheus trigger on the release's own target, all else by default."""
    theirs = case.subject.autoscaler.document
    body = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": theirs.name, "namespace": theirs.namespace},
        "spec": {
            "scaleTargetRef": theirs.get("spec", "scaleTargetRef"),
            "minReplicaCount": 1,
            "maxReplicaCount": case.most,
            "triggers": [{"type": "prometheus", "metadata": {"query": query, "threshold": f"{threshold:g}"}}],
            **spec,
        },
    }
    return autoscaler(Document(body), case.subject.release)


def _hpa_gpu_utilization(case: Case) -> Result:
    scaler = _query_scaler(case, "sum(DCGM_FI_DEV_GPU_UTIL)", GPU_UTILISATION_TARGET)
    return _keda(case, "hpa-gpu-utilization", scaler)


def _keda_waiting(case: Case) -> Result:
    engine = case.subject.plan.container.engine
    metric = case.subject.plan.facts.engines[engine]["metrics"]["waiting"]
    return _keda(case, "keda-waiting-5", _query_scaler(case, f"sum({metric})", WAITING_TARGET))


def _knative(case: Case) -> Result:
    hold = max(KNATIVE_HOLD_SECONDS, case.options.hold_seconds)
    return case.run("knative-kpa", KnativePolicy(Bounds(0, case.most)), hold_seconds=hold)


def _ray_serve(case: Case) -> Result:
    return case.run("ray-serve", RayServePolicy(Bounds(1, case.most)), low=1)


def _cron_only(case: Case) -> Result:
    """Office hours at what 99 % of their minutes need, one replica otherwise."""
    first, last = OFFICE_HOURS

    def inside(time: float) -> bool:
        moment = case.trace.start + timedelta(seconds=time)
        return moment.weekday() < _WORKING_DAYS and first <= moment.hour < last

    within = [each for each in case.needs if inside(each.time)]
    replicas = min(percentile(within, 99), case.most)
    plan: list[tuple[float, int]] = []
    for each in case.needs:
        wanted = replicas if inside(each.time) else 1
        if not plan or plan[-1][1] != wanted:
            plan.append((each.time, wanted))
    fixed = replace(case, options=replace(case.options, initial_replicas=plan[0][1] if plan else 1))
    return fixed.run("cron-only", PlannedPolicy(plan, "the schedule"))


def _oracle(case: Case) -> Result:
    """The first of the factors that attains what the release does; without a release, the plan's own need."""
    best: Result | None = None
    for factor in ORACLE_FACTORS if case.attainment is not None else (1.0,):
        found = _oracle_with(case, factor)
        if best is None or found.attainment > best.attainment:
            best = found
        if case.attainment is None or found.attainment >= case.attainment - EQUAL_POINTS:
            return found
    return best if best is not None else _oracle_with(case, 1.0)


def _oracle_with(case: Case, factor: float) -> Result:
    lead = case.subject.lead_seconds * ORACLE_LEAD_FACTOR
    bounded = [replace(each, replicas=min(each.replicas * factor, float(case.most))) for each in case.needs]
    plan = ahead(bounded, lead)
    fixed = replace(case, options=replace(case.options, initial_replicas=plan[0][1] if plan else 0))
    return fixed.run("oracle", PlannedPolicy(plan, "what the trace will need one cold start from now"))


BASELINES: Mapping[str, Callable[[Case], Result]] = {
    "static-peak": _static_peak,
    "static-p99": _static_p99,
    "hpa-gpu-utilization": _hpa_gpu_utilization,
    "keda-waiting-5": _keda_waiting,
    "knative-kpa": _knative,
    "ray-serve": _ray_serve,
    "cron-only": _cron_only,
    "oracle": _oracle,
}


def compare(case: Case, names: Sequence[str]) -> list[Result]:
    """The release, then these baselines."""
    ours = run_release(case)
    after = replace(case, attainment=ours.attainment)
    return [ours, *(BASELINES[name](after) for name in names)]


def usd_per_million(result: Result) -> float | None:
    """Dollars per million tokens of answers; None where none was made."""
    return result.usd / result.answer_tokens * 1e6 if result.answer_tokens else None


def dominates(one: Result, other: Result) -> bool:
    """Whether a run needs fewer GPU-hours and attains more than another."""
    return one.gpu_hours < other.gpu_hours and one.attainment > other.attainment


def mean_replicas(result: Result) -> float:
    """Replicas that were there on average, ready or not."""
    return result.replica_hours * 3600 / result.seconds if result.seconds else math.nan
