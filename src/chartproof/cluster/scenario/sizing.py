"""How much load a release needs to be seen at work, from its own plan, formula and engine.

Load is counted in replicas' worth: one is what keeps a replica at the target of its autoscaler. There are two lengths
of requests. Long ones fill many replicas of a fast cluster at a real rate that one client process sends with ease.
Short ones are for pods that are stopped meanwhile: they end within the time that a pod has to drain.

Where prompts and answers are computed by different replicas, each role is played with a load that fills it and leaves
the other one idle: long prompts with hardly an answer, or short prompts whose computing costs this role nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from chartproof.autoscaler import Autoscaler
from chartproof.cluster.machines.front_door import COUNTED
from chartproof.cluster.speed import Speed
from chartproof.errors import InputError
from chartproof.kv_transfer import CONSUMER, PRODUCER
from chartproof.languages.formula import FormulaError, UnjudgedError
from chartproof.plan.workload_plan import WorkloadPlan
from chartproof.release import Release
from chartproof.rules._autoscaling import shows_demand
from chartproof.simulate.engine import EngineModel
from chartproof.simulate.hpa import SYNC_SECONDS, Hpa, Metric
from chartproof.simulate.keda import hpa_spec
from chartproof.simulate.run import Subject, subjects_of
from chartproof.simulate.world import Shutdown, shutdown_of

MOST_REAL_RATE = 90.0
"""Requests per real second that any load may send."""
MOST_REPLICAS = 10
"""More replicas than this are not asked for: 1 to 10 is what the chart's default behavior does in one decision."""
#: From short to long.
_LADDER = (
    (128, 32),
    (128, 64),
    (256, 128),
    (256, 256),
    (256, 384),
    (256, 512),
    (256, 768),
    (512, 1024),
    (512, 1536),
    (512, 2048),
)
#: Of replicas that compute prompts only, or answers only: the other role has hardly anything to do.
_PROMPT_LADDER = tuple((prompt, 16) for prompt in (256, 512, 1024, 2048, 4096, 8192))
_ANSWER_LADDER = tuple((128, answer) for answer in (256, 384, 512, 768, 1024, 1536, 2048))
#: Share of the time to drain that a short request may stay with a replica at its target.
_DRAIN_SHARE = 0.5
#: A load of whole replicas would stand on the edge at which one more is asked for.
SPARE = 0.5
REQUESTS_TO_PROVE = 500
"""Requests that must go through a drain or a rollout, so that losing none says something."""
#: How much more a burst shows than the replicas it asks for.
_BURST_MARGIN = 1.3
#: More than a replica can do, at which its queue does not go away.
_OVERLOAD = 1.2
#: Share of a bounded queue that is used: what comes above the bound is refused, as it should be.
_BOUND_SHARE = 0.7
PAIR_LOAD = 1.5
"""Load, in replicas' worth, that two replicas are for."""
#: The window begins at the end of a burst, a while before requests begin to count.
_PROOF_MARGIN = 1.6
_MANY_PASSES = 1000
_HUGE_MILLI = 10**12
#: Beyond everything that is waited for in a scenario: what a busy machine adds.
_PATIENCE_SECONDS = 600.0


class Lengths(NamedTuple):
    """Tokens of a request's prompt and of its answer."""

    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True)
class Sizing:
    """One release, and what its load must be. Rates are per simulated second."""

    subject: Subject
    speed: Speed
    part: str = ""
    """Which workload of the release this is, where it has several: a role, else the name."""

    @property
    def plan(self) -> WorkloadPlan:
        """The workload's plan."""
        return self.subject.plan

    @property
    def autoscaler(self) -> Autoscaler:
        """Its ScaledObject."""
        return self.subject.autoscaler

    @property
    def role(self) -> str:
        """PRODUCER or CONSUMER of KV caches; empty for an engine that serves alone."""
        return self.subject.transfer.role if self.subject.transfer is not None else ""

    @cached_property
    def model(self) -> EngineModel:
        """Its engine on the instance type that is bought first."""
        model = self.subject.model
        return replace(model, cached_share=1.0) if self.role == CONSUMER else model

    @property
    def minimum(self) -> int:
        """Fewest replicas."""
        return self.autoscaler.minimum or 0

    @property
    def fewest(self) -> int:
        """Fewest replicas that serve: what a first request finds or starts."""
        return max(1, self.minimum)

    @property
    def maximum(self) -> int:
        """Most replicas."""
        return self.autoscaler.maximum or 1

    @cached_property
    def target(self) -> float:
        """What the autoscaler gives a replica: the formula's target, or a single trigger's threshold."""
        return _target(self.autoscaler)

    @cached_property
    def reach(self) -> int:
        """Replicas after one decision of the HPA from the fewest that serve, however much is asked for."""
        spec = hpa_spec(self.autoscaler)
        hpa, start = Hpa(spec), self.fewest
        for index in range(_MANY_PASSES):
            found = hpa.reconcile(
                index * SYNC_SECONDS,
                spec_replicas=start,
                status_replicas=start,
                ready_pods=start,
                metrics=[Metric(_HUGE_MILLI, round(self.target * 1000))],
            )
            if found.replicas > start:
                return found.replicas
        return start

    @property
    def peak(self) -> int:
        """Replicas that a full load needs."""
        return min(self.maximum, max(self.reach, self.fewest + 1), MOST_REPLICAS)

    @cached_property
    def short(self) -> Lengths:
        """The longest requests that a pod can finish while it drains."""
        drain = self.shutdown.drain
        fitting = [each for each in self._lengths if self.held_seconds(each) <= drain * _DRAIN_SHARE]
        return fitting[-1] if fitting else self._lengths[0]

    @cached_property
    def long(self) -> Lengths:
        """The shortest requests with which a full load keeps to MOST_REAL_RATE, else the longest that fit."""
        full = self.peak - SPARE
        slow = (each for each in self._lengths if self.speed.simulated(self._needed(full, each)) <= MOST_REAL_RATE)
        return next(slow, self._lengths[-1])

    def brisk(self, replicas: float, seconds: float) -> Lengths:
        """As `short`, but at this load more than REQUESTS_TO_PROVE come within so many seconds, if need be."""
        many = _PROOF_MARGIN * REQUESTS_TO_PROVE
        enough = [each for each in self._lengths if self._needed(replicas, each) * seconds >= many]
        return min(enough[-1] if enough else self._lengths[0], self.short)

    @property
    def draining(self) -> Lengths:
        """Requests for the time that it takes to go down under half a replica's load."""
        return self.brisk(0.5, self.autoscaler.scale_down_window_seconds)

    @property
    def rolling(self) -> Lengths:
        """Requests for the time that two replicas take to be replaced, one after the other, under their load."""
        return self.brisk(PAIR_LOAD, 2 * self.warm_seconds)

    @property
    def warm_seconds(self) -> float:
        """Start of a replica on a node that is there and has the image."""
        return self.plan.cold_start_on(self.subject.pools[0].instances[0]).warm_node_seconds

    @cached_property
    def _lengths(self) -> list[Lengths]:
        """Those of which a replica holds as many as its target says."""
        of_role = {PRODUCER: _PROMPT_LADDER, CONSUMER: _ANSWER_LADDER}
        ladder = [Lengths(*each) for each in of_role.get(self.role, _LADDER)]
        return [each for each in ladder if self.model.capacity(*self._work(each)) >= self.target] or ladder[:1]

    def _work(self, lengths: Lengths) -> Lengths:
        """What a replica makes of a request: one that hands prompts over makes one token."""
        return Lengths(lengths.prompt_tokens, 1) if self.role == PRODUCER else lengths

    def held_seconds(self, lengths: Lengths) -> float:
        """How long one request stays with a replica at its target."""
        return self.target / self.model.requests_per_second(self.target, *self._work(lengths))

    def rate(self, replicas: float, lengths: Lengths) -> float:
        """Requests per second that keep `replicas` times the target in flight, within MOST_REAL_RATE."""
        return min(self._needed(replicas, lengths), self.speed.real(MOST_REAL_RATE))

    def _needed(self, replicas: float, lengths: Lengths) -> float:
        if replicas <= 0:
            return 0.0
        work = self._work(lengths)
        if self.role == PRODUCER:
            # Prompts are computed one after the other: how many wait says nothing about how many are done.
            return replicas * self.model.requests_per_second(self.target, *work)
        whole = math.ceil(replicas)
        each = self.target * replicas / whole
        return whole * self.model.requests_per_second(each, *work)

    def burst(self, replicas: int, lengths: Lengths) -> int:
        """Requests that, sent at once to the fewest replicas, make the formula ask for `replicas` with a margin.

        The formula is asked itself: an engine runs as many as it takes prompts of, the rest waits.
        """
        wanted = self.target * replicas * _BURST_MARGIN
        most = math.ceil(min(wanted, _BOUND_SHARE * self.bound))  # of `wanted`, because a request counts at least one
        room = self.fewest * min(self.model.max_sequences, self.model.kv_tokens // lengths.prompt_tokens)
        low, high = 1, max(1, most)
        while low < high:
            middle = (low + high) // 2
            if self._signal(min(middle, room), max(0, middle - room), lengths) >= wanted:
                high = middle
            else:
                low = middle + 1
        return low

    @property
    def bound(self) -> float:
        """Requests that the fewest replicas take before they refuse one; infinite without a bound."""
        model = self.model
        if model.request_limit is not None:
            return self.fewest * model.request_limit
        return self.fewest * (model.max_sequences + model.queue_limit) if model.queue_limit is not None else math.inf

    def overload(self, lengths: Lengths) -> float:
        """Requests per second that the fewest replicas have a queue of for as long as they come, within MOST_REAL_RATE.

        The queue grows, but not faster than it must; if it is bounded it does not. It is a little more than they can
        do and not than they are for: an engine that can do twice that would have answered a burst before the replicas
        come that were asked for, and the autoscaler would take those back.
        """
        if not math.isinf(self.bound):
            return self.rate(self.fewest, lengths)
        work = self._work(lengths)
        most = self.fewest * self.model.requests_per_second(self.model.capacity(*work), *work)
        return min(_OVERLOAD * most, self.speed.real(MOST_REAL_RATE))

    @property
    def patience_seconds(self) -> float:
        """More than any wait of a healthy release takes: a cold start, then both ways down, and some minutes."""
        start = self.subject.lead_seconds
        down = self.autoscaler.scale_down_window_seconds + self.autoscaler.cooldown_seconds
        return 2 * start + 2 * down + _PATIENCE_SECONDS

    @property
    def floor(self) -> int:
        """Fewest replicas while there is load and, where it has them, office hours."""
        return max(self.fewest, min(self.hours_replicas, self.maximum))

    @property
    def hours_replicas(self) -> int:
        """Replicas that the cron keeps while its hours last; 0 without one."""
        return max(
            (int(each.number("desiredReplicas") or 0) for each in self.autoscaler.effective_triggers if each.is_cron),
            default=0,
        )

    @property
    def shutdown(self) -> Shutdown:
        """What a pod does when it is deleted."""
        return shutdown_of(self.plan.container)

    def _signal(self, running: float, waiting: float, lengths: Lengths) -> float:
        """What the formula makes of the fewest replicas when they are busy; the plain sum where it cannot be told."""
        formula = self.autoscaler.formula
        if formula is None:
            return running + waiting
        work = self._work(lengths)
        usage = running * (work.prompt_tokens + work.answer_tokens / 2) / self.model.kv_tokens
        known = {"running": running, "waiting": waiting, "kv_cache": min(self.fewest, usage), "replicas": self.fewest}
        values = {name: known.get(name, 0.0) for name in self.autoscaler.formula_trigger_names}
        try:
            return formula.run(values).value or 0.0
        except (FormulaError, UnjudgedError):
            return running + waiting


def sizings_of(release: Release, speed: Speed) -> list[Sizing]:
    """What the load of each of a release's workloads must be.

    Raises InputError where it has no engine under a ScaledObject that is known.
    """
    subjects = list(subjects_of(release))
    return [_sizing(each, speed, _part(each) if len(subjects) > 1 else "") for each in subjects]


def _sizing(subject: Subject, speed: Speed, part: str) -> Sizing:
    scaler = subject.autoscaler
    if _target(scaler) <= 0:
        raise InputError(
            "has no target that load could be measured by",
            where=scaler.document.identity,
            how="give scalingModifiers.target, or a trigger's threshold, as a number above 0",
        )
    if uncounted := _uncounted(scaler):
        raise InputError(
            f"is woken by {', '.join(uncounted)}, which nothing counts where scenarios send their requests",
            where=scaler.document.identity,
            how=f"play the scenario life, or wake it by {COUNTED[0]}",
        )
    return Sizing(subject, speed, part)


def _part(subject: Subject) -> str:
    role = subject.transfer.role if subject.transfer is not None else ""
    return {PRODUCER: "prefill", CONSUMER: "decode"}.get(role, subject.plan.container.document.name)


def _uncounted(scaler: Autoscaler) -> list[str]:
    """What would wake a model from zero if the front door counted it; a gateway counts what it passes on itself."""
    wakes = [each.query for each in scaler.effective_triggers if shows_demand(each) and each.query is not None]
    metrics = {metric for query in wakes for metric in query.metrics}
    return [] if scaler.minimum or metrics & {*COUNTED} else sorted(metrics)


def _target(scaler: Autoscaler) -> float:
    if scaler.modifiers is not None:
        return scaler.modifiers.target or 0.0
    return next((each.threshold for each in scaler.triggers if each.threshold), 0.0)
