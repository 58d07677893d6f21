"""The cluster around the autoscaler: front door, pods, their engines and nodes, and what scrapes see.

A pod waits for a place, goes through the phases of its start, serves, and drains. The front door gives
each request to a ready replica; without one it refuses, as a Service does, or holds the request for a
while where a gateway does that.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from chartproof.catalog import Instance
from chartproof.release import dig
from chartproof.simulate.clock import Clock, Priority
from chartproof.simulate.engine import Engine, EngineModel, Job
from chartproof.simulate.fluid import FluidEngine
from chartproof.simulate.karpenter import Karpenter, Node
from chartproof.simulate.metrics import FIRST_TOKEN_BUCKETS, GPU_UTILISATION, Exports, fixed_labels
from chartproof.simulate.series import Database, Series
from chartproof.simulate.traffic import Rate, Request
from chartproof.workload import EngineContainer

#: kube-prometheus-stack scrapes what has no interval of its own this often.
DEFAULT_SCRAPE_SECONDS = 30.0
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


class Balancing(StrEnum):
    """How the front door chooses a replica: as kube-proxy, as most ingresses, or by load."""

    RANDOM = "random"
    ROUND_ROBIN = "round-robin"
    LEAST_REQUESTS = "least-requests"


@dataclass(frozen=True, slots=True)
class Overflow:
    """A paid API that takes what replicas cannot: when none is ready, or each holds this many requests on average.

    It costs by the token, answers as much as prompts where nothing else is said, and answers at its own pace, without
    bound. `requests_per_replica` None: only when no replica is ready.
    """

    usd_per_million_tokens: float
    first_token_seconds: float = 1.0
    seconds_per_token: float = 0.02
    requests_per_replica: int | None = None
    usd_per_million_answer_tokens: float | None = None

    def usd(self, prompt_tokens: int, answer_tokens: int) -> float:
        """What so many tokens cost."""
        answers = self.usd_per_million_answer_tokens
        answers = self.usd_per_million_tokens if answers is None else answers
        return (prompt_tokens * self.usd_per_million_tokens + answer_tokens * answers) / 1e6


@dataclass(frozen=True, slots=True)
class Shutdown:
    """What a pod does when it is deleted, in seconds: the hook, then the drain, both within the grace period."""

    pre_stop: float
    drain: float
    grace: float

    @property
    def longest(self) -> float:
        """Seconds until everything that still runs is cut off."""
        return min(self.pre_stop + self.drain, self.grace)


def shutdown_of(container: EngineContainer) -> Shutdown:
    """Read from the manifests. vLLM aborts at once without `--shutdown-timeout`; SGLang drains until it is killed."""
    hook = dig(container.container, "lifecycle", "preStop", default={})
    words = [str(each) for each in dig(hook, "exec", "command", default=[]) or []]
    after_sleep = " ".join(words).partition("sleep ")[2].split()
    seconds = dig(hook, "sleep", "seconds", default=after_sleep[0] if after_sleep else 0)
    grace = float(container.pod.spec.get("terminationGracePeriodSeconds", 30))
    drain = float(container.integer("--shutdown-timeout", default=0)) if container.engine == "vllm" else grace
    return Shutdown(float(seconds) if str(seconds).isdigit() else 0.0, drain, grace)


@dataclass(eq=False, slots=True)
class Pod:
    """A replica from its creation to its end."""

    name: str
    created: float
    node: Node | None = None
    ready: float | None = None
    deleted: float | None = None
    ended: float | None = None
    phases: list[tuple[str, float]] = field(default_factory=list)
    engine: Engine | None = None
    readers: list[tuple[Series, Callable[[Engine], float]]] = field(default_factory=list)
    buckets: list[Series] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    first_token_sum: float = 0.0
    busy: float = 0.0

    @property
    def cold_start_seconds(self) -> float | None:
        """From its creation to ready."""
        return None if self.ready is None else self.ready - self.created


@dataclass(frozen=True, slots=True)
class Setup:
    """What does not change during a run.

    `hold_seconds` is how long the front door keeps a request it cannot place; `fluid` engines follow rates; pods are
    `numbered` by a StatefulSet or LeaderWorkerSet.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]
    models: Mapping[str, EngineModel]
    shutdown: Shutdown
    exports: Exports
    scrape_seconds: float = DEFAULT_SCRAPE_SECONDS
    hold_seconds: float = 0.0
    balancing: Balancing = Balancing.RANDOM
    seed: int = 0
    fluid: bool = False
    overflow: Overflow | None = None
    numbered: bool = False


class World:
    """The simulated cluster. `on_end` gets every request when it is finished or lost."""

    def __init__(
        self, clock: Clock, setup: Setup, karpenter: Karpenter, database: Database, on_end: Callable[[Job], None]
    ) -> None:
        self.clock = clock
        self.setup = setup
        self.karpenter = karpenter
        self.database = database
        self.pods: list[Pod] = []
        self.replicas = 0
        self.arrived = 0
        self.flowed = 0.0
        self.flow_lost = 0.0
        self.flow_prompt_tokens = 0.0
        self.flow_answer_tokens = 0.0
        self.overflowed = 0
        self.overflow_prompt_tokens = 0
        self.overflow_answer_tokens = 0
        self._rate: Rate | None = None
        self._flowing_since = 0.0
        self.cold_starts: list[Pod] = []
        self.replica_seconds = 0.0
        self.busy_seconds = 0.0
        self.served_seconds = 0.0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.phase_seconds: dict[str, float] = {}
        self.seconds_at_zero = 0.0
        self._scaled = 0.0
        self._on_end = on_end
        self._ready: list[Pod] = []
        self._held: deque[Job] = deque()
        self._draw = random.Random(f"{setup.seed} world")  # noqa: S311
        self._turn = 0
        self._names = 0
        karpenter.on_free = self._place_waiting
        karpenter.on_loss = self._lose
        self._export_cluster()

    # --- Replicas -------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """Replicas that serve."""
        return len(self._ready)

    @property
    def running(self) -> int:
        """Requests in batches."""
        return sum(each.engine.running for each in self.pods if each.engine is not None)

    @property
    def waiting(self) -> int:
        """Requests in engines' queues and at the front door."""
        return len(self._held) + sum(
            max(len(each.engine.waiting), each.engine.queued) for each in self.pods if each.engine is not None
        )

    @property
    def in_flight(self) -> int:
        """Requests that are neither finished nor lost."""
        return len(self._held) + sum(each.engine.load for each in self.pods if each.engine is not None)

    def scale(self, replicas: int, *, warm: bool = False) -> None:
        """Want that many replicas; `warm` ones were there before the simulation."""
        if not self.replicas:
            self.seconds_at_zero += self.clock.now - self._scaled
        self._scaled = self.clock.now
        self.replicas = replicas
        active = [each for each in self.pods if each.deleted is None]
        for _ in range(replicas - len(active)):
            self._create(warm=warm)
        # As the ReplicaSet controller chooses: those that are not ready first, then the youngest.
        active.sort(key=lambda each: (each.ready is not None, -(each.ready or each.created)))
        for pod in active[: max(0, len(active) - replicas)]:
            self._delete(pod)

    def _create(self, *, warm: bool = False) -> None:
        pod = Pod(self._new_name(), self.clock.now)
        self.pods.append(pod)
        if warm:
            pod.node = self.karpenter.warm(pod)
            if pod.node is not None:
                self._become_ready(pod)
                return
        self._place(pod)

    def _new_name(self) -> str:
        self._names += 1
        if self.setup.numbered:
            return f"{self.setup.name}-{self._names - 1}"
        number, suffix = self._names, ""
        for _ in range(5):
            number, digit = divmod(number, 36)
            suffix = _BASE36[digit] + suffix
        return f"{self.setup.name}-7c9f8d6b5-{suffix}"

    def _place(self, pod: Pod) -> None:
        pod.node = self.karpenter.place(pod)
        if pod.node is None:
            return
        pod.phases = self.karpenter.pod_phases(pod.node)
        node = pod.node

        def start() -> None:
            if pod.deleted is None and pod.node is node:
                self.cold_starts.append(pod)
                for name, seconds in pod.phases:
                    self.phase_seconds[name] = self.phase_seconds.get(name, 0.0) + seconds
                self._become_ready(pod)

        self.clock.after(sum(seconds for _, seconds in pod.phases), start)

    def _place_waiting(self) -> None:
        for pod in self.pods:
            if pod.node is None and pod.deleted is None:
                self._place(pod)

    def _become_ready(self, pod: Pod) -> None:
        assert pod.node is not None  # noqa: S101 - only placed pods start
        now = self.clock.now
        pod.ready = now
        self._count_flow()
        pod.engine = (FluidEngine if self.setup.fluid else Engine)(self._model(pod.node.instance), now)
        self._ready.append(pod)
        self._spread_flow()
        self._export_pod(pod)
        while self._held:
            job = self._held.popleft()
            if now - job.arrival > self.setup.hold_seconds:
                self._lost(job, "held too long at the front door")
            else:
                self._give(job)

    def _model(self, instance: Instance) -> EngineModel:
        return self.setup.models[instance.name]

    def _delete(self, pod: Pod) -> None:
        now = self.clock.now
        pod.deleted = now
        if pod.engine is None:
            self._end(pod)
            return
        self._count_flow()
        self._ready.remove(pod)
        self._spread_flow()
        if isinstance(pod.engine, FluidEngine):
            pod.engine.advance(now)
            pod.engine.inflow = 0.0
        cut = now + self.setup.shutdown.longest

        def look() -> None:
            assert pod.engine is not None  # noqa: S101 - checked above
            if pod.ended is not None:
                return
            self._advance(pod)
            if not pod.engine.load or self.clock.now >= cut:
                self._end(pod)
            else:
                self.clock.at(min(cut, self.clock.now + 1.0), look)

        self.clock.at(min(cut, now + self.setup.shutdown.pre_stop), look)

    def _end(self, pod: Pod) -> None:
        now = self.clock.now
        pod.ended = now
        if pod.engine is not None:
            if isinstance(pod.engine, FluidEngine):
                self.flow_lost += pod.engine.drop()
            for job in pod.engine.abort():
                self._lost(job, "cut off at shutdown")
            self._count_busy(pod)
        self.replica_seconds += now - pod.created
        self.database.end([*(series for series, _ in pod.readers), *pod.buckets], now)
        self.pods.remove(pod)
        if pod.node is not None:
            self.karpenter.leave(pod)

    def _lose(self, node: Node) -> None:
        """A spot node has two minutes left: its pods are evicted and made anew elsewhere."""
        for pod in [each for each in self.pods if each.deleted is None and node in self.karpenter.nodes_of(each)]:
            self._delete(pod)
        self.scale(self.replicas)

    # --- Requests -------------------------------------------------------------------------------------------------

    def arrive(self, request: Request) -> None:
        """A request reaches the front door now."""
        self.arrived += 1
        job = Job(self.clock.now, request.prompt_tokens, request.answer_tokens, request.blocks)
        overflow = self.setup.overflow
        if overflow is not None and self._is_full(overflow):
            self._overflow(job, overflow)
        elif self._ready:
            self._give(job)
        elif self.setup.hold_seconds > 0:
            self._held.append(job)
        else:
            self._lost(job, "no replica was ready")

    def _is_full(self, overflow: Overflow) -> bool:
        if not self._ready:
            return True
        most = overflow.requests_per_replica
        if most is None:
            return False
        for each in self._ready:
            self._advance(each)
        return sum(each.engine.load for each in self._ready if each.engine is not None) >= most * len(self._ready)

    def _overflow(self, job: Job, overflow: Overflow) -> None:
        """The API answers: its times are known already."""
        self.overflowed += 1
        self.overflow_prompt_tokens += job.prompt_tokens
        self.overflow_answer_tokens += job.answer_tokens
        job.first_token = job.arrival + overflow.first_token_seconds
        job.finish = job.first_token + overflow.seconds_per_token * (job.answer_tokens - 1)
        self._on_end(job)

    def flow(self, rate: Rate | None) -> None:
        """From now on requests come at this rate, evenly to all replicas; None: no more do."""
        self._count_flow()
        self._rate = rate
        self._spread_flow()

    def _count_flow(self) -> None:
        """Count what has come since the rate or the replicas changed; without a replica it is lost."""
        now = self.clock.now
        if self._rate is not None:
            came = self._rate.per_second * (now - self._flowing_since)
            self.flowed += came
            self.arrived = round(self.flowed)
            if self._ready:
                self.flow_prompt_tokens += came * self._rate.prompt_tokens
                self.flow_answer_tokens += came * self._rate.answer_tokens
            else:
                self.flow_lost += came
        self._flowing_since = now

    def _spread_flow(self) -> None:
        rate = self._rate
        for pod in self._ready:
            if isinstance(pod.engine, FluidEngine):
                pod.engine.advance(self.clock.now)
                if rate is not None:
                    pod.engine.flow(rate.per_second / len(self._ready), rate.prompt_tokens, rate.answer_tokens)

    def _give(self, job: Job) -> None:
        pods = self._ready
        if self.setup.balancing is Balancing.RANDOM:
            pod = pods[int(self._draw.random() * len(pods))]
        elif self.setup.balancing is Balancing.ROUND_ROBIN:
            self._turn += 1
            pod = pods[self._turn % len(pods)]
        else:
            for each in pods:
                self._advance(each)
            pod = min(pods, key=lambda each: each.engine.load if each.engine else 0)
        self._advance(pod)
        if pod.engine is not None and not pod.engine.submit(job):
            self._lost(job, "refused by the engine: longer than its KV cache, or its queue was full")

    def _advance(self, pod: Pod) -> None:
        engine = pod.engine
        if engine is None:
            return
        engine.advance(self.clock.now)
        if engine.finished:
            for job in engine.finished:
                self._on_end(job)
            engine.finished.clear()
        if not pod.buckets:
            engine.first_tokens.clear()

    def advance_all(self) -> None:
        """Let every engine catch up with the clock."""
        for pod in self.pods:
            self._advance(pod)

    def _lost(self, job: Job, why: str) -> None:
        job.lost = why
        self._on_end(job)

    def expire_held(self) -> None:
        """Give up what the front door has held for too long."""
        while self._held and self.clock.now - self._held[0].arrival > self.setup.hold_seconds:
            self._lost(self._held.popleft(), "held too long at the front door")

    def account(self) -> None:
        """Add what is still there to the sums, at the end of the measured time."""
        now = self.clock.now
        if not self.replicas:
            self.seconds_at_zero += now - self._scaled
        for pod in self.pods:
            self.replica_seconds += now - pod.created
            self._count_busy(pod)

    def _count_busy(self, pod: Pod) -> None:
        if pod.engine is not None and pod.ready is not None:
            self.busy_seconds += pod.engine.busy_seconds
            self.served_seconds += self.clock.now - pod.ready
            self.prompt_tokens += pod.engine.prompt_tokens_total
            self.cached_tokens += pod.engine.cached_tokens_total

    # --- Scrapes --------------------------------------------------------------------------------------------------

    def _export_cluster(self) -> None:
        setup, database = self.setup, self.database
        state = [
            (database.add(name, {"namespace": setup.namespace, name.split("_")[1]: setup.name}), name)
            for name in setup.exports.state
        ]

        def scrape_state() -> None:
            active = sum(each.deleted is None for each in self.pods)
            for series, name in state:
                value = (
                    self.ready
                    if name.endswith(("ready", "available"))
                    else active
                    if "status" in name
                    else self.replicas
                )
                series.append(self.clock.now, value)

        doors = [database.add(each.metric, fixed_labels(each)) for each in setup.exports.front_door]

        def scrape_doors() -> None:
            self._count_flow()
            # An ingress exports a counter once it has counted something.
            if self.arrived:
                for series in doors:
                    series.append(self.clock.now, self.arrived)

        if state:
            self._every_scrape(scrape_state)
        if doors:
            self._every_scrape(scrape_doors)
        self.clock.every(300, 300, lambda: self.database.forget(self.clock.now), Priority.MEASURE)

    def _every_scrape(self, scrape: Callable[[], None]) -> None:
        seconds = self.setup.scrape_seconds
        self.clock.every(seconds, self._draw.random() * seconds, scrape, Priority.MEASURE)

    def _export_pod(self, pod: Pod) -> None:
        exports = self.setup.exports
        if not exports.from_pods:
            return
        labels = {**self.setup.labels, "namespace": self.setup.namespace, "pod": pod.name}
        for metric, reading in exports.engine.items():
            pod.readers.append((self.database.add(metric, labels), reading))
        if exports.gpu_utilisation:
            pod.readers.append((self.database.add(GPU_UTILISATION, labels), lambda _: self._utilisation(pod)))
        if exports.first_token:
            name = exports.first_token
            for bound in (*FIRST_TOKEN_BUCKETS, math.inf):
                text = "+Inf" if math.isinf(bound) else f"{bound:g}" if bound % 1 else f"{bound:.1f}"
                pod.buckets.append(self.database.add(name + "_bucket", {**labels, "le": text}))
            pod.buckets += [self.database.add(name + "_sum", labels), self.database.add(name + "_count", labels)]
            pod.counts = [0] * (len(FIRST_TOKEN_BUCKETS) + 1)
        seconds = self.setup.scrape_seconds

        def scrape() -> None:
            if pod.ended is None:
                self._scrape(pod)
                self.clock.after(seconds, scrape, Priority.MEASURE)

        self.clock.after(self._draw.random() * seconds, scrape, Priority.MEASURE)

    def _scrape(self, pod: Pod) -> None:
        self._advance(pod)
        engine, now = pod.engine, self.clock.now
        if engine is None:
            return
        for series, reading in pod.readers:
            series.append(now, reading(engine))
        if pod.buckets:
            self._scrape_histogram(pod, engine)

    def _scrape_histogram(self, pod: Pod, engine: Engine) -> None:
        now = self.clock.now
        for seconds in engine.first_tokens:
            pod.first_token_sum += seconds
            index = next((i for i, bound in enumerate(FIRST_TOKEN_BUCKETS) if seconds <= bound), len(pod.counts) - 1)
            pod.counts[index] += 1
        engine.first_tokens.clear()
        cumulated = 0
        for series, found in zip(pod.buckets, pod.counts, strict=False):
            cumulated += found
            series.append(now, cumulated)
        pod.buckets[-2].append(now, pod.first_token_sum)
        pod.buckets[-1].append(now, cumulated)

    def _utilisation(self, pod: Pod) -> float:
        """Share of the time since the last scrape that kernels ran, in percent, as DCGM has it."""
        if pod.engine is None:
            return 0.0
        busy = pod.engine.busy_seconds - pod.busy
        pod.busy = pod.engine.busy_seconds
        return min(100.0, 100 * busy / self.setup.scrape_seconds)
