"""Watches a release while a scenario runs, and writes down what it sees.

Objects are followed, so that a change has the time at which the API server told it; counts are sampled. Nothing here
asks what KEDA or the HPA would ask: a look at the external metrics API counts as a failure of a trigger where it fails,
and would change what is observed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import aiohttp

from chartproof.cluster.machines.watch import Change, Client, Watch
from chartproof.cluster.objects import INSTANCE_TYPE
from chartproof.cluster.placement import CAPACITY_TYPE, NODE_POOL
from chartproof.cluster.scenario.surroundings import Queue, Surroundings
from chartproof.cluster.scenario.timeline import Decision, Mark, Pass, Sample
from chartproof.languages.quantity import QuantityError, parse_quantity
from chartproof.release import dig

Body = Mapping[str, Any]

SAMPLE_SECONDS = 0.5
"""Real seconds between samples."""
_ANSWER_SECONDS = 3.0
MATCH_SECONDS = 1.5
"""Real seconds that may lie between a change and the HPA's status that tells of it: they come on different ways."""
COMPOSITE = "composite-metric"
"""KEDA's name for what a formula comes to (KEDA v2.21 `apis/keda/v1alpha1/scaledobject_types.go`)."""

#: NaN as an integer of 64 bits, in thousandths.
_NOT_A_NUMBER = Decimal(-(2**63)) / 1000

#: Where objects of the kinds are that can be scaled.
_PLACES: Mapping[str, tuple[str, str]] = {
    "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "LeaderWorkerSet": ("leaderworkerset.x-k8s.io/v1", "leaderworkersets"),
}


@dataclass(frozen=True, slots=True)
class Names:
    """What is followed: the workload, its ScaledObject, the name that clients call the model by, engine series."""

    namespace: str
    kind: str
    workload: str
    scaler: str
    model: str
    running: str = "vllm:num_requests_running"
    waiting: str = "vllm:num_requests_waiting"


@dataclass(frozen=True, slots=True)
class Scaled:
    """A change of a workload's `spec.replicas`; `current` is its `status.replicas` at that moment."""

    second: float
    phase: str
    before: int
    after: int
    current: int


@dataclass(frozen=True, slots=True)
class Written:
    """An HPA after its controller wrote its status; `current` is the workload's `status.replicas` as known then."""

    second: float
    phase: str
    body: Body
    current: int


class Clock:
    """Simulated seconds since it was made."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self.start = time.monotonic()
        """A reading of the monotonic clock at second 0."""

    def now(self) -> float:
        """Simulated seconds."""
        return (time.monotonic() - self.start) * self._factor


class Recorder:
    """One recording; `async with recorder.running():` follows until the block ends."""

    def __init__(self, client: Client, surroundings: Surroundings, names: Names, clock: Clock) -> None:
        self.clock = clock
        self.phase = ""
        self.samples: list[Sample] = []
        self.marks: list[Mark] = []
        self.remarks: list[str] = []
        self._names = names
        self._surroundings = surroundings
        version, plural = _PLACES[names.kind]
        inside = {"fieldSelector": f"metadata.namespace={names.namespace}"}
        self.workloads = Watch(client, version, plural, **inside)
        self.pods = Watch(client, "v1", "pods", **inside)
        self._hpas = Watch(client, "autoscaling/v2", "horizontalpodautoscalers", **inside)
        self._scalers = Watch(client, "keda.sh/v1alpha1", "scaledobjects", **inside)
        self.claims = Watch(client, "karpenter.sh/v1", "nodeclaims")
        self._workload: Body | None = None
        self._changes: list[Scaled] = []
        self._statuses: list[Written] = []
        self._usd = 0.0
        self._last = 0.0
        self._unread: set[str] = set()
        self.sampled = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow and sample for the duration of a block."""
        self.workloads.on_change(self._on_workload)
        self._hpas.on_change(self._on_hpa)
        watches = (self.workloads, self.pods, self._hpas, self._scalers, self.claims)
        tasks = [asyncio.create_task(each.run()) for each in watches]
        try:
            await asyncio.gather(*(each.synced.wait() for each in watches))
            tasks.append(asyncio.create_task(self._sample()))
            yield
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, phase: str) -> None:
        """A new phase."""
        self.phase = phase
        self.marks.append(Mark(self.clock.now(), phase, is_phase=True))

    def mark(self, what: str) -> None:
        """Something was done."""
        self.marks.append(Mark(self.clock.now(), what))

    @property
    def workload(self) -> Body | None:
        """The scaled object as it is now."""
        return self.workloads.objects.get((self._names.namespace, self._names.workload))

    @property
    def claim_bodies(self) -> list[Body]:
        """NodeClaims that there are."""
        return list(self.claims.objects.values())

    @property
    def passes(self) -> tuple[Pass, ...]:
        """What the HPA wrote until now."""
        return passes_of(self._statuses, self._changes, self._window)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every change of the replicas until now, and who made it."""
        return decisions_of(self._changes, self.passes, self._window)

    @property
    def _window(self) -> float:
        return self._surroundings.speed.simulated(MATCH_SECONDS)

    def _on_workload(self, change: Change, body: Body) -> None:
        if body["metadata"]["name"] != self._names.workload:
            return
        before, self._workload = self._workload, None if change is Change.DELETED else body
        if before is not None and self._workload is not None and replicas_of(before) != replicas_of(body):
            # What the object says of existing replicas is still from before the change.
            self._changes.append(
                Scaled(self.clock.now(), self.phase, replicas_of(before), replicas_of(body), current_of(body))
            )

    def _on_hpa(self, change: Change, body: Body) -> None:
        if change is not Change.DELETED and self._is_ours(body) and "status" in body:
            self._statuses.append(Written(self.clock.now(), self.phase, body, current_of(self._workload)))

    def _is_ours(self, body: Body) -> bool:
        reference = dig(body, "spec", "scaleTargetRef", default={})
        return bool((reference.get("kind"), reference.get("name")) == (self._names.kind, self._names.workload))

    def _hpa(self) -> Body | None:
        return next((each for each in self._hpas.objects.values() if self._is_ours(each)), None)

    async def _sample(self) -> None:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
            self._last = self.clock.now()
            while True:
                started = time.monotonic()
                await self._look(session)
                self.sampled.set()
                await asyncio.sleep(max(0.0, SAMPLE_SECONDS - (time.monotonic() - started)))

    async def _look(self, session: aiohttp.ClientSession) -> None:
        names = self._names
        queue, composite, alerts = await asyncio.gather(
            self._queue(session),
            self._ask(session, composite_query(names.namespace, names.scaler)),
            self._alerts(session),
        )
        second = self.clock.now()
        counts, dollars = claims_of(self.claims.objects.values(), self._surroundings)
        self._usd += dollars * (second - self._last) / 3600
        self._last = second
        hpa, scaler = self._hpa(), self._scalers.objects.get((names.namespace, names.scaler))
        body = self._workload
        replicas = replicas_of(body) if body is not None else None
        # Of a workload at zero the HPA's last word is from before.
        passes = self.passes if replicas else ()
        seen = passes[-1].metric if passes else None
        self.samples.append(
            Sample(
                second=second,
                phase=self.phase,
                replicas=replicas,
                current=current_of(body) if body is not None else None,
                ready=ready_of(body) if body is not None else None,
                desired=dig(hpa, "status", "desiredReplicas") if hpa is not None else None,
                running=queue.running if queue else None,
                waiting=queue.waiting if queue else None,
                held=queue.held if queue else None,
                metric=composite if seen is None else seen,
                active=condition(scaler, "Active"),
                fallback=condition(scaler, "Fallback"),
                nodes=counts,
                usd=self._usd,
                alerts=alerts,
            )
        )

    async def _queue(self, session: aiohttp.ClientSession) -> Queue | None:
        names = self._names
        found = await self._surroundings.queue(session, names.namespace, names.model)
        if found is not None:
            return found
        label = f'{{namespace="{names.namespace}",model_name="{names.model}"}}'
        running, waiting = await asyncio.gather(
            self._ask(session, f"sum({names.running}{label})"), self._ask(session, f"sum({names.waiting}{label})")
        )
        return Queue(running or 0.0, waiting or 0.0, 0.0)

    async def _ask(self, session: aiohttp.ClientSession, query: str) -> float | None:
        return value_of(await self._read(session, "query", query=query))

    async def _alerts(self, session: aiohttp.ClientSession) -> tuple[str, ...]:
        return firing(await self._read(session, "alerts"), self._names.namespace)

    async def _read(self, session: aiohttp.ClientSession, what: str, **parameters: str) -> Any:
        """An answer of Prometheus; None, and a remark, where there is none."""
        try:
            async with session.get(f"{self._surroundings.prometheus}/api/v1/{what}", params=parameters) as response:
                return await response.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if what not in self._unread:
                self._unread.add(what)
                self.remarks.append(f"Prometheus did not answer for {what} at {self.clock.now():.0f} s: {error!r}")
            return None


# --- Reading ------------------------------------------------------------------------------------------------------


def replicas_of(body: Body) -> int:
    """What a workload asks for."""
    return int(dig(body, "spec", "replicas", default=1))


def current_of(body: Body | None) -> int:
    """What exists of a workload."""
    return int(dig(body, "status", "replicas", default=0))


def ready_of(body: Body) -> int:
    """What serves of a workload."""
    return int(dig(body, "status", "readyReplicas", default=0))


def passes_of(statuses: Iterable[Written], changes: Sequence[Scaled], window: float) -> tuple[Pass, ...]:
    """What each status of an HPA says of the pass that wrote it; repeated statuses are one.

    The metric is told as an average over the scale's `status.replicas`. In a pass that scaled these are the ones from
    before the change, which lies within `window` seconds.
    """
    found: list[Pass] = []
    for each in statuses:
        status = each.body["status"]
        before, after = int(status.get("currentReplicas", 0)), int(status.get("desiredReplicas", 0))
        change = _matching(changes, before, after, each.second, window) if before != after else None
        current = each.current if change is None else change.current
        made = Pass(
            second=each.second,
            phase=each.phase,
            before=before,
            after=after,
            current=current,
            metric=metric_of(each.body, current),
            reasons={one["type"]: one.get("reason", "") for one in status.get("conditions") or ()},
        )
        if not found or _told(found[-1]) != _told(made):
            found.append(made)
    return tuple(found)


def decisions_of(changes: Iterable[Scaled], passes: Sequence[Pass], window: float) -> tuple[Decision, ...]:
    """Every change with its author. From and to zero it is KEDA; else the HPA, where its status says so."""
    found = []
    for each in changes:
        told = _matching(passes, each.before, each.after, each.second, window)
        author = "keda" if 0 in (each.before, each.after) else "hpa" if told else "other"
        reason = told.reasons.get("AbleToScale", "") if told else ""
        metric = told.metric if told else None
        found.append(Decision(each.second, each.phase, author, each.before, each.after, each.current, metric, reason))
    return tuple(found)


class _Step(Protocol):
    @property
    def second(self) -> float: ...
    @property
    def before(self) -> int: ...
    @property
    def after(self) -> int: ...


_Found = TypeVar("_Found", bound=_Step)


def _matching(steps: Iterable[_Found], before: int, after: int, second: float, window: float) -> _Found | None:
    """The step between these counts that is nearest in time."""
    near = [
        each for each in steps if (each.before, each.after) == (before, after) and abs(each.second - second) <= window
    ]
    return min(near, key=lambda each: abs(each.second - second), default=None)


def _told(made: Pass) -> tuple[Any, ...]:
    return made.before, made.after, made.current, made.metric, made.reasons


def metric_of(hpa: Body, current: int) -> float | None:
    """The total of its external metric: its status has it as an average over `status.replicas`, or as it is.

    None where there was no replica to divide by: the HPA writes what its 0/0 comes to as an integer
    (Kubernetes 1.36 `pkg/controller/podautoscaler/replica_calculator.go`, GetExternalPerPodMetricReplicas).
    """
    for each in dig(hpa, "status", "currentMetrics", default=()):
        value = dig(each, "external", "current", default={})
        try:
            if "averageValue" in value:
                average = parse_quantity(value["averageValue"])
                return None if average == _NOT_A_NUMBER else float(average) * current
            if "value" in value:
                return float(parse_quantity(value["value"]))
        except QuantityError:
            return None
    return None


def condition(body: Body | None, kind: str) -> bool | None:
    """Whether an object's condition holds; None where it is not known."""
    for each in dig(body, "status", "conditions", default=()):
        if each.get("type") == kind and each.get("status") in {"True", "False"}:
            return bool(each["status"] == "True")
    return None


def claims_of(claims: Any, surroundings: Surroundings) -> tuple[dict[str, int], float]:
    """NodeClaims by instance type, and what those that have a machine cost an hour together."""
    counts: dict[str, int] = {}
    dollars = 0.0
    for each in claims:
        labels = dig(each, "metadata", "labels", default={})
        instance = labels.get(INSTANCE_TYPE, "")
        if NODE_POOL not in labels:
            continue
        counts[instance or "claimed"] = counts.get(instance or "claimed", 0) + 1
        if instance:
            dollars += surroundings.usd_per_hour(instance, labels.get(CAPACITY_TYPE, ""))
    return dict(sorted(counts.items())), dollars


def composite_query(namespace: str, scaler: str) -> str:
    """What KEDA last made of the formula; scraped with `honorLabels` or without."""
    which = f'scaledObject="{scaler}",scaler="{COMPOSITE}"'
    return " or ".join(
        f'max(keda_scaler_metrics_value{{{label}="{namespace}",{which}}})'
        for label in ("exported_namespace", "namespace")
    )


def value_of(answer: Any) -> float | None:
    """The number that an instant query of Prometheus came to; None for none."""
    try:
        number = float(dig(answer, "data", "result", 0, "value", 1))
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number


def firing(answer: Any, namespace: str) -> tuple[str, ...]:
    """Names of the alerts that fire about a namespace, or about none; not of those that are meant to fire always."""
    found = {
        each["labels"].get("alertname", "")
        for each in dig(answer, "data", "alerts", default=())
        if each.get("state") == "firing"
        and each["labels"].get("namespace", namespace) == namespace
        and each["labels"].get("severity") != "none"
    }
    return tuple(sorted(found))
