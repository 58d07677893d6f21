"""One run: a release, a trace, a policy, and what comes of it.

Protocol. The run starts warm: the replicas that the first five minutes of the trace need (at least the
policy's minimum) are ready. Money and GPU-hours are counted from the trace's start to its end; requests in
flight then get LAST_SECONDS to finish. A lost request misses every objective.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from chartproof.autoscaler import Autoscaler, autoscalers
from chartproof.errors import InputError
from chartproof.kv_transfer import KvTransfer, kv_transfer
from chartproof.languages.duration import DurationError, prometheus_seconds
from chartproof.languages.promql import Query
from chartproof.plan.workload_plan import WorkloadPlan, plan_release
from chartproof.release import Release
from chartproof.simulate.clock import Clock, Priority
from chartproof.simulate.demand import Need, needs
from chartproof.simulate.engine import EngineModel, Job, engine_model
from chartproof.simulate.karpenter import Karpenter, NodePool, node_pools
from chartproof.simulate.measure import Distribution, Objective
from chartproof.simulate.metrics import exports_for
from chartproof.simulate.policies import Policy, Tick
from chartproof.simulate.promql import longest_range
from chartproof.simulate.series import Database
from chartproof.simulate.traffic import Trace
from chartproof.simulate.world import DEFAULT_SCRAPE_SECONDS, Balancing, Overflow, Setup, World, shutdown_of

#: What requests in flight at the end of the trace are given.
LAST_SECONDS = 900.0
#: The time at the start whose need decides how many replicas are ready.
WARM_SECONDS = 300.0
SAMPLE_SECONDS = 60.0
PERCENTILES = (50.0, 90.0, 95.0, 99.0)


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is told besides release and trace; prices are those of the catalog less the discount on spot.

    `without_requests` follows rates only: decisions and cost at a price that does not depend on traffic, but
    no latencies, so that objectives and holding at the front door mean nothing.
    """

    objectives: tuple[Objective, ...] = (Objective("ttft", 95, 2.0),)
    seed: int = 0
    hold_seconds: float = 0.0
    balancing: Balancing = Balancing.RANDOM
    initial_replicas: int | None = None
    spot_discount: float = 0.0
    spot_losses_per_hour: float = 0.0
    without_requests: bool = False
    overflow: Overflow | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """An autoscaled engine workload of a release, which is simulated or played."""

    release: Release
    plan: WorkloadPlan
    autoscaler: Autoscaler
    pools: tuple[NodePool, ...]
    models: dict[str, EngineModel]

    @property
    def model(self) -> EngineModel:
        """The engine on the instance type that the heaviest pool buys first."""
        return self.models[self.pools[0].instances[0].name]

    @property
    def transfer(self) -> KvTransfer | None:
        """Of an engine that computes prompts or answers only, how it hands them over; None for any other."""
        found = kv_transfer(self.plan.container)
        return found if found is not None and found.is_half else None

    @property
    def lead_seconds(self) -> float:
        """Cold start on a fresh node, from the decision on."""
        start = self.plan.cold_start_on(self.pools[0].instances[0])
        return start.seconds - sum(each.seconds for each in start.phases if each.name == "reaction")


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at one time, for plots. `arrivals` is the rate since the sample before, per second."""

    time: float
    arrivals: float
    replicas: int
    ready: int
    running: int
    waiting: int
    gpus: int
    lost: int


@dataclass(frozen=True, slots=True)
class Attained:
    """An objective and the share of all requests, in percent, that kept to its seconds."""

    objective: Objective
    percent: float

    @property
    def met(self) -> bool:
        """Whether the share is as large as it asks for."""
        return self.percent >= self.objective.percent


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. Seconds, unless a name says otherwise; percentiles go with PERCENTILES.

    `usd` is everything that is paid, `overflow_usd` the part of it for the `overflowed` requests; `cached_percent` is
    the share of the prompts' tokens that prefix caches answered.
    """

    policy: str
    trace: str
    seconds: float
    requests: int
    finished: int
    lost: dict[str, int]
    ttft: tuple[float, ...]
    end_to_end: tuple[float, ...]
    attained: tuple[Attained, ...]
    replica_hours: float
    gpu_hours: float
    usd: float
    busy_percent: float
    cold_starts: int
    cold_start_mean: float | None
    seconds_at_zero: float
    spot_losses: int
    most_replicas: int
    prompt_tokens: int
    answer_tokens: int
    ttft_curve: tuple[tuple[float, float], ...] = field(repr=False)
    end_to_end_curve: tuple[tuple[float, float], ...] = field(repr=False)
    samples: tuple[Sample, ...] = field(repr=False)
    ticks: tuple[Tick, ...] = field(repr=False)
    passes: int = 0
    cached_percent: float = 0.0
    overflowed: int = 0
    overflow_usd: float = 0.0

    @property
    def lost_requests(self) -> int:
        """All that were lost, for whatever reason."""
        return sum(self.lost.values())

    @property
    def attainment(self) -> float:
        """The worst share of all objectives, in percent."""
        return min((each.percent for each in self.attained), default=100.0)


def subjects_of(release: Release, *, cached_share: float = 0.0) -> Iterator[Subject]:
    """Every engine workload of a release that KEDA scales: one, or one for each role of disaggregated serving.

    `cached_share` of every prompt is found in the prefix cache, where a trace does not name its blocks. Raises
    InputError where there is none, and at the first of which too little is known.
    """
    plans = plan_release(release)
    found = [
        (plan, scaler)
        for scaler in autoscalers(release)
        if scaler.is_keda
        and (plan := next((each for each in plans if each.container.document is scaler.target), None)) is not None
    ]
    if not found:
        raise InputError(
            "has no engine with a known model under a ScaledObject",
            where=release.name,
            how="switch autoscaling on, and annotate the pods with chartproof.io/model",
        )
    for plan, scaler in found:
        yield _subject(release, plan, scaler, cached_share)


def subject_of(release: Release, *, cached_share: float = 0.0) -> Subject:
    """The first of `subjects_of`, to be simulated alone. Raises InputError where it cannot serve alone, too."""
    subject = next(subjects_of(release, cached_share=cached_share))
    if subject.transfer is not None:
        raise InputError(
            "computes prompts or answers only, and an engine is simulated that does both",
            where=subject.plan.container.document.identity,
            how="the preset without disaggregation.enabled",
        )
    return subject


def _subject(release: Release, plan: WorkloadPlan, scaler: Autoscaler, cached_share: float) -> Subject:
    pools = node_pools(release, plan)
    models = {
        instance.name: found
        for pool in pools
        for instance in pool.instances
        if (found := engine_model(plan, instance.gpu, instance.gpu_memory_mebibytes)) is not None
    }
    missing = next((each.name for pool in pools for each in pool.instances if each.name not in models), None)
    if missing is not None:
        raise InputError(
            f"how fast {plan.model.id} is on {missing} is not known",
            where=plan.container.document.identity,
            how="a model and a GPU that the catalog has a profile of, or can scale one to",
        )
    if cached_share and not all(each.prefix_cache for each in models.values()):
        raise InputError(
            "its prefix cache is switched off, and no prompt is found in it",
            where=plan.container.document.identity,
            how="leave out --cached-prompt-share, or the engine's option that switches it off",
        )
    models = {name: replace(each, cached_share=cached_share) for name, each in models.items()}
    return Subject(release, plan, scaler, pools, models)


def demand(subject: Subject, trace: Trace) -> list[Need]:
    """What the trace needs of replicas; reads the trace to its end, so that a broken one fails here."""
    return needs(trace.rates(), subject.model)


def initial_replicas(found: Sequence[Need], low: int, high: int) -> int:
    """Replicas that are ready at the start: what the first WARM_SECONDS need, within bounds."""
    first = max((each.whole for each in found if each.time < WARM_SECONDS), default=0)
    return max(low, min(high, first))


def simulate(
    subject: Subject,
    trace: Trace,
    name: str,
    policy: Policy,
    options: Options,
    *,
    found: Sequence[Need],
    queries: Iterable[Query],
    low: int,
    high: int,
    hold_seconds: float | None = None,
) -> Result:
    """Run the trace under a policy. `queries` are those it will ask; `low` and `high` bound the warm start."""
    queries = list(queries)
    container = subject.plan.container
    document = container.document
    names = subject.plan.facts.engines.get(container.engine, {}).get("metrics", {})
    clock = Clock()
    setup = Setup(
        name=document.name,
        namespace=subject.release.namespace_of(document),
        labels={"model_name": container.served_model_name, "container": str(container.container.get("name"))},
        models=subject.models,
        shutdown=shutdown_of(container),
        exports=exports_for(queries, names, subject.autoscaler.document.identity),
        scrape_seconds=_scrape_seconds(subject.release),
        hold_seconds=options.hold_seconds if hold_seconds is None else hold_seconds,
        balancing=options.balancing,
        seed=options.seed,
        fluid=options.without_requests,
        overflow=options.overflow,
        numbered=document.kind in {"StatefulSet", "LeaderWorkerSet"},
    )
    if setup.fluid and setup.exports.first_token:
        raise InputError(
            f"{setup.exports.first_token} is read by a trigger, and there are no first tokens without requests",
            where=subject.autoscaler.document.identity,
            how="simulate with requests",
        )
    karpenter = Karpenter(
        clock,
        subject.pools,
        subject.plan,
        seed=options.seed,
        spot_discount=options.spot_discount,
        spot_losses_per_hour=options.spot_losses_per_hour,
    )
    recorder = _Recorder(() if options.without_requests else options.objectives)
    database = Database(max((longest_range(each) for each in queries), default=0.0))
    world = World(clock, setup, karpenter, database, recorder.end)
    warm = initial_replicas(found, low, high) if options.initial_replicas is None else options.initial_replicas
    world.scale(warm, warm=True)
    recorder.watch(world)
    policy.begin(world)
    end = found[-1].time + found[-1].seconds if found else 0.0
    if options.without_requests:
        for rate in trace.rates():
            clock.run_until(rate.time)
            world.flow(rate)
        clock.run_until(end)
        world.flow(None)
    else:
        for request in trace.requests():
            clock.run_until(request.time)
            world.arrive(request)
        clock.run_until(end)
    world.advance_all()
    world.account()
    measured = _Measured(world, karpenter, end)
    for _ in range(math.ceil(LAST_SECONDS / 5)):
        if not world.in_flight:
            break
        clock.run_until(clock.now + 5)
        world.expire_held()
        world.advance_all()
    return recorder.result(name, trace.name, world, measured, policy)


def _scrape_seconds(release: Release) -> float:
    """The interval of the release's own monitors, else kube-prometheus-stack's default."""
    for document in release.of_kind("ServiceMonitor", "PodMonitor"):
        key = "endpoints" if document.kind == "ServiceMonitor" else "podMetricsEndpoints"
        for each in document.get("spec", key, default=[]) or []:
            try:
                return prometheus_seconds(str(each.get("interval") or ""))
            except DurationError:
                continue
    return DEFAULT_SCRAPE_SECONDS


class _Measured:
    """Sums at the end of the trace, before the requests in flight are let finish."""

    def __init__(self, world: World, karpenter: Karpenter, end: float) -> None:
        self.seconds = end
        self.replica_hours = world.replica_seconds / 3600
        self.gpu_hours = karpenter.gpu_hours(end)
        overflow = world.setup.overflow
        tokens = world.overflow_prompt_tokens, world.overflow_answer_tokens
        self.overflow_usd = 0.0 if overflow is None else overflow.usd(*tokens)
        self.usd = karpenter.usd(end) + self.overflow_usd
        self.busy_percent = 100 * world.busy_seconds / world.served_seconds if world.served_seconds else 0.0
        starts = [each.cold_start_seconds for each in world.cold_starts if each.cold_start_seconds is not None]
        self.cached_percent = 100 * world.cached_tokens / world.prompt_tokens if world.prompt_tokens else 0.0
        self.cold_starts = len(starts)
        self.cold_start_mean = math.fsum(starts) / len(starts) if starts else None
        self.seconds_at_zero = world.seconds_at_zero
        self.spot_losses = karpenter.spot_losses


class _Recorder:
    """Takes every request as it ends, and a sample of the world every minute."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._objectives = objectives
        self._kept = [0] * len(objectives)
        self._ttft = Distribution()
        self._end_to_end = Distribution()
        self._lost: dict[str, int] = {}
        self._samples: list[Sample] = []
        self._finished = self._prompts = self._answers = 0

    def end(self, job: Job) -> None:
        """A request was finished or lost."""
        if job.lost:
            self._lost[job.lost] = self._lost.get(job.lost, 0) + 1
            return
        self._finished += 1
        self._prompts += job.prompt_tokens
        self._answers += job.answer_tokens
        ttft, end_to_end = job.time_to_first_token, job.end_to_end
        self._ttft.add(ttft)
        self._end_to_end.add(end_to_end)
        for index, each in enumerate(self._objectives):
            self._kept[index] += (ttft if each.measure == "ttft" else end_to_end) <= each.seconds

    def watch(self, world: World) -> None:
        """Sample the world every SAMPLE_SECONDS."""
        arrived = 0

        def sample() -> None:
            nonlocal arrived
            world.expire_held()
            world.advance_all()
            self._samples.append(
                Sample(
                    time=world.clock.now,
                    arrivals=(world.arrived - arrived) / SAMPLE_SECONDS,
                    replicas=world.replicas,
                    ready=world.ready,
                    running=world.running,
                    waiting=world.waiting,
                    gpus=world.karpenter.gpus,
                    lost=sum(self._lost.values()),
                )
            )
            arrived = world.arrived

        world.clock.every(SAMPLE_SECONDS, 0.0, sample, Priority.MEASURE)

    def result(self, name: str, trace: str, world: World, measured: _Measured, policy: Policy) -> Result:
        """Everything together."""
        if world.setup.fluid:
            gone = round(world.flow_lost)
            self._lost = {"no replica was ready, or cut off at shutdown": gone} if gone else {}
            self._finished = world.arrived - gone
            self._prompts, self._answers = round(world.flow_prompt_tokens), round(world.flow_answer_tokens)
        unfinished = world.arrived - self._finished - sum(self._lost.values())
        lost = dict(sorted(self._lost.items()))
        if unfinished:
            lost["not finished at the end"] = unfinished
        samples = tuple(each for each in self._samples if each.time <= measured.seconds)
        return Result(
            policy=name,
            trace=trace,
            seconds=measured.seconds,
            requests=world.arrived,
            finished=self._finished,
            lost=lost,
            ttft=tuple(self._ttft.percentiles(PERCENTILES)),
            end_to_end=tuple(self._end_to_end.percentiles(PERCENTILES)),
            attained=tuple(
                Attained(each, 100 * kept / world.arrived if world.arrived else 100.0)
                for each, kept in zip(self._objectives, self._kept, strict=True)
            ),
            replica_hours=measured.replica_hours,
            gpu_hours=measured.gpu_hours,
            usd=measured.usd,
            busy_percent=measured.busy_percent,
            cold_starts=measured.cold_starts,
            cold_start_mean=measured.cold_start_mean,
            seconds_at_zero=measured.seconds_at_zero,
            spot_losses=measured.spot_losses,
            most_replicas=max((each.replicas for each in samples), default=world.replicas),
            prompt_tokens=self._prompts,
            answer_tokens=self._answers,
            ttft_curve=self._ttft.curve(max(1, world.arrived)),
            end_to_end_curve=self._end_to_end.curve(max(1, world.arrived)),
            samples=samples,
            ticks=tuple(each for each in policy.journal.ticks if each.time <= measured.seconds),
            passes=policy.journal.passes,
            cached_percent=measured.cached_percent,
            overflowed=world.overflowed,
            overflow_usd=measured.overflow_usd,
        )
