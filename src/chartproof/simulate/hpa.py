"""The HorizontalPodAutoscaler controller, decision by decision.

A transcription of the arithmetic of `pkg/controller/podautoscaler` (Kubernetes 1.33 and newer) for the
metrics that KEDA hands it: External metrics in AverageValue or Value form. Same numbers (milli integers,
binary floating point, truncation where Go truncates), same order of steps, same memory of
recommendations and scale events; it is compared with the real controller tick for tick. Counts
beyond 32 bits in a policy's arithmetic, which Go leaves to the processor, are not modelled.

Times are seconds on any clock, kept in whole microseconds: whether a recommendation is exactly as old as a
window must not hang on how a float was rounded. A pass happens every SYNC_SECONDS at a phase of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from chartproof.languages.quantity import parse_quantity

SYNC_SECONDS = 15.0
"""`--horizontal-pod-autoscaler-sync-period`."""

DEFAULT_TOLERANCE = 0.1
"""`--horizontal-pod-autoscaler-tolerance`; ratios of exactly 1 - 0.1 and 1 + 0.1 hold (from 1.33)."""

DEFAULT_DOWNSCALE_WINDOW_SECONDS = 300
"""`--horizontal-pod-autoscaler-downscale-stabilization`, where the behavior names no window."""

_MICROSECONDS = 1_000_000

_ALWAYS_REACHED = 4
"""Replicas that one pass may reach without a behavior, where doubling gives fewer."""

_MOST_MILLI = 2**63 - 1
_MOST_REPLICAS = 2**31 - 1
"""Proposals are cut to what an int32 holds."""


class PolicyType(StrEnum):
    """What a scaling policy counts."""

    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """Which of several policies counts."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class Policy:
    """At most `value` pods, or percent, per `period_seconds`."""

    type: PolicyType
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction of a behavior. `tolerance` None means the controller's flag."""

    policies: tuple[Policy, ...]
    stabilization_window_seconds: int
    select_policy: SelectPolicy = SelectPolicy.MAX
    tolerance: float | None = None

    @property
    def longest_period_seconds(self) -> int:
        """Longest period of the policies; scale events older than it are forgotten."""
        return max((each.period_seconds for each in self.policies), default=0)


#: What the API server fills in where a behavior leaves a direction out (`pkg/apis/autoscaling/v2/defaults.go`).
DEFAULT_SCALE_UP = ScalingRules((Policy(PolicyType.PODS, 4, 15), Policy(PolicyType.PERCENT, 100, 15)), 0)
DEFAULT_SCALE_DOWN = ScalingRules((Policy(PolicyType.PERCENT, 100, 15),), DEFAULT_DOWNSCALE_WINDOW_SECONDS)


@dataclass(frozen=True, slots=True)
class Metric:
    """An External metric: its summed value and its target, both in thousandths; None: it could not be read.

    `average` chooses AverageValue (value per replica) over Value.
    """

    value_milli: int | None
    target_milli: int
    average: bool = True


@dataclass(frozen=True, slots=True)
class HpaSpec:
    """What the controller is told.

    Without `has_behavior` the object has no `behavior` at all, and the controller does not look at the
    two rules: a pass may double the replicas, or reach 4, and the flag's window delays scaling down.
    """

    min_replicas: int
    max_replicas: int
    scale_up: ScalingRules = DEFAULT_SCALE_UP
    scale_down: ScalingRules = DEFAULT_SCALE_DOWN
    tolerance: float = DEFAULT_TOLERANCE
    has_behavior: bool = True

    @classmethod
    def of(cls, min_replicas: int, max_replicas: int, behavior: Mapping[str, Any] | None) -> HpaSpec:
        """The spec with `behavior` as written in a manifest, and what the API server fills into it.

        Raises QuantityError where a tolerance is no quantity.
        """
        if behavior is None:
            return cls(min_replicas, max_replicas, has_behavior=False)
        return cls(
            min_replicas,
            max_replicas,
            _filled(behavior.get("scaleUp"), DEFAULT_SCALE_UP),
            _filled(behavior.get("scaleDown"), DEFAULT_SCALE_DOWN),
        )


def _filled(written: Mapping[str, Any] | None, default: ScalingRules) -> ScalingRules:
    written = written or {}
    policies = written.get("policies")
    window = written.get("stabilizationWindowSeconds")
    select_policy = written.get("selectPolicy")
    tolerance = written.get("tolerance")
    return ScalingRules(
        default.policies
        if policies is None
        else tuple(Policy(PolicyType(each["type"]), each["value"], each["periodSeconds"]) for each in policies),
        default.stabilization_window_seconds if window is None else window,
        default.select_policy if select_policy is None else SelectPolicy(select_policy),
        None if tolerance is None else approximate(parse_quantity(tolerance)),
    )


def approximate(quantity: Decimal) -> float:
    """The float that the controller makes of a quantity: its digits, as stored, times a power of ten.

    The API server stores 0.009 as 9m, of which `AsApproximateFloat64` makes 0.009000000000000001: that
    decides ratios on the very edge of a tolerance.
    """
    sign, digits, exponent = quantity.normalize().as_tuple()
    if not isinstance(exponent, int):
        raise TypeError(f"{quantity} is not finite")
    stored = exponent // 3 * 3  # suffixes are powers of a thousand
    number = float(int("".join(map(str, digits))) * 10 ** (exponent - stored) * (-1 if sign else 1))
    return number * float(f"1e{stored}") if stored else number


@dataclass(frozen=True, slots=True)
class Decision:
    """One pass and why it ended as it did.

    `raw` is what the metrics ask for, `stabilized` what the windows leave of it, `limited` what the
    policies leave; `replicas` is what is written. The middle ones are None where the pass never got
    that far.
    """

    time: float
    current: int
    replicas: int
    reason: str
    raw: int | None = None
    stabilized: int | None = None
    limited: int | None = None

    @property
    def scaled(self) -> bool:
        """Whether the replica count was written."""
        return self.replicas != self.current


@dataclass(slots=True)
class _Recommendation:
    replicas: int
    time: int


@dataclass(slots=True)
class _ScaleEvent:
    change: int
    time: int
    outdated: bool = False


@dataclass(slots=True)
class Hpa:
    """The controller's memory of one autoscaler; `reconcile` is one pass."""

    spec: HpaSpec
    _recommendations: list[_Recommendation] = field(default_factory=list)
    _up_events: list[_ScaleEvent] = field(default_factory=list)
    _down_events: list[_ScaleEvent] = field(default_factory=list)

    def reconcile(
        self, now: float, *, spec_replicas: int, status_replicas: int, ready_pods: int, metrics: Sequence[Metric]
    ) -> Decision:
        """One pass at `now`.

        `spec_replicas` is what the target wants, `status_replicas` its pods that are not finished
        (ready or not, surge included), `ready_pods` those that are ready (only Value metrics ask).
        """
        at = round(now * _MICROSECONDS)
        if not self._recommendations:
            self._recommendations.append(_Recommendation(spec_replicas, at))
        if spec_replicas == 0:
            return Decision(now, 0, 0, "scaling is disabled at zero replicas")
        if spec_replicas > self.spec.max_replicas:
            return self._write(Decision(now, spec_replicas, self.spec.max_replicas, "above the maximum"))
        if spec_replicas < self.spec.min_replicas:
            return self._write(Decision(now, spec_replicas, self.spec.min_replicas, "below the minimum"))
        raw = self._proposal(spec_replicas, status_replicas, ready_pods, metrics)
        if raw is None:
            return Decision(now, spec_replicas, spec_replicas, "metrics could not be read")
        raw = max(0, raw)  # a metric of type Value may be negative
        if self.spec.has_behavior:
            stabilized = self._stabilize(at, spec_replicas, raw)
            limited, reason = self._limit(at, spec_replicas, stabilized)
        else:
            stabilized = self._highest_of_window(at, raw)
            limited, reason = self._limit_without_behavior(spec_replicas, stabilized)
        if stabilized != raw and limited == stabilized:
            reason = "held by the stabilization window"
        return self._write(Decision(now, spec_replicas, limited, reason, raw, stabilized, limited))

    def _proposal(
        self, spec_replicas: int, status_replicas: int, ready_pods: int, metrics: Sequence[Metric]
    ) -> int | None:
        """The largest proposal of the metrics; None where the pass must do nothing."""
        replicas = 0
        invalid = 0
        for metric in metrics:
            proposed: int | None
            if metric.value_milli is None:
                proposed = None
            elif metric.average:
                proposed = self._average(metric.value_milli, metric.target_milli, status_replicas)
            else:
                pods = (status_replicas, ready_pods)
                proposed = self._value(metric.value_milli, metric.target_milli, spec_replicas, *pods)
            if proposed is None:
                invalid += 1
            elif replicas == 0 or proposed > replicas:
                replicas = proposed
        if invalid >= len(metrics) or (invalid and replicas < spec_replicas):
            return None
        return replicas

    def _average(self, value_milli: int, target_milli: int, status_replicas: int) -> int:
        if value_milli < 0:
            # The controller sums values and, from 1.34, takes any sum below zero for an overflow: it grows
            # to the maximum, where older ones shrink to the minimum.
            value_milli = _MOST_MILLI
        per_all = float(target_milli) * float(status_replicas)
        # Division by zero replicas is Inf or NaN in Go: never within the tolerance.
        ratio = value_milli / per_all if per_all else math.inf
        if self._within_tolerance(ratio):
            return status_replicas
        return _replicas(_divide(value_milli, target_milli))

    def _value(
        self, value_milli: int, target_milli: int, spec_replicas: int, existing_pods: int, ready_pods: int
    ) -> int | None:
        ratio = _divide(value_milli, target_milli)
        if self._within_tolerance(ratio):
            return spec_replicas
        # Without a single pod, ready or not, the controller calls the metric unreadable.
        return _replicas(ratio * float(ready_pods)) if existing_pods else None

    def _within_tolerance(self, ratio: float) -> bool:
        down = up = self.spec.tolerance
        if self.spec.has_behavior:
            down = down if self.spec.scale_down.tolerance is None else self.spec.scale_down.tolerance
            up = up if self.spec.scale_up.tolerance is None else self.spec.scale_up.tolerance
        return (1.0 - down) <= ratio <= (1.0 + up)

    def _stabilize(self, now: int, current: int, desired: int) -> int:
        up_cutoff = now - self.spec.scale_up.stabilization_window_seconds * _MICROSECONDS
        down_cutoff = now - self.spec.scale_down.stabilization_window_seconds * _MICROSECONDS
        lowest, highest = desired, desired
        old: _Recommendation | None = None
        for each in self._recommendations:
            if each.time > up_cutoff:
                lowest = min(lowest, each.replicas)
            if each.time > down_cutoff:
                highest = max(highest, each.replicas)
            if each.time < up_cutoff and each.time < down_cutoff:
                old = each
        self._remember(desired, now, instead_of=old)
        return min(max(current, lowest), highest)

    def _highest_of_window(self, now: int, desired: int) -> int:
        cutoff = now - DEFAULT_DOWNSCALE_WINDOW_SECONDS * _MICROSECONDS
        # Here one exactly as old as the window still counts; with a behavior it does not.
        highest = max(desired, *(each.replicas for each in self._recommendations if each.time >= cutoff), 0)
        old = next((each for each in reversed(self._recommendations) if each.time < cutoff), None)
        self._remember(desired, now, instead_of=old)
        return highest

    def _remember(self, desired: int, now: int, *, instead_of: _Recommendation | None) -> None:
        """Keep the raw proposal, in the slot of one that no window can see any more."""
        if instead_of is None:
            self._recommendations.append(_Recommendation(desired, now))
        else:
            instead_of.replicas, instead_of.time = desired, now

    def _limit_without_behavior(self, current: int, desired: int) -> tuple[int, str]:
        limit = max(2 * current, _ALWAYS_REACHED)
        allowed = min(self.spec.max_replicas, limit)
        if desired < self.spec.min_replicas:
            return self.spec.min_replicas, "the minimum"
        if desired > allowed:
            return allowed, "at most double" if limit < self.spec.max_replicas else "the maximum"
        return desired, "as the metrics ask"

    def _limit(self, now: int, current: int, desired: int) -> tuple[int, str]:
        if desired > current:
            limit = max(current, self._up_limit(now, current))
            allowed = min(self.spec.max_replicas, limit)
            if desired > allowed:
                return allowed, "scale-up policies" if limit < self.spec.max_replicas else "the maximum"
        elif desired < current:
            limit = min(current, self._down_limit(now, current))
            allowed = max(self.spec.min_replicas, limit)
            if desired < allowed:
                return allowed, "scale-down policies" if limit > self.spec.min_replicas else "the minimum"
        return desired, "as the metrics ask"

    def _up_limit(self, now: int, current: int) -> int:
        rules = self.spec.scale_up
        if rules.select_policy is SelectPolicy.DISABLED:
            return current
        proposals = []
        for policy in rules.policies:
            start = self._period_start(now, current, policy)
            if policy.type is PolicyType.PODS:
                proposals.append(start + policy.value)
            else:
                proposals.append(math.ceil(float(start) * (1 + policy.value / 100)))
        return min(proposals) if rules.select_policy is SelectPolicy.MIN else max(proposals)

    def _down_limit(self, now: int, current: int) -> int:
        rules = self.spec.scale_down
        if rules.select_policy is SelectPolicy.DISABLED:
            return current
        proposals = []
        for policy in rules.policies:
            start = self._period_start(now, current, policy)
            if policy.type is PolicyType.PODS:
                proposals.append(start - policy.value)
            else:
                proposals.append(int(float(start) * (1 - policy.value / 100)))
        # The smallest change is the largest count.
        return max(proposals) if rules.select_policy is SelectPolicy.MIN else min(proposals)

    def _period_start(self, now: int, current: int, policy: Policy) -> int:
        """Replicas at the start of the policy's period: the changes since then taken back."""
        cutoff = now - policy.period_seconds * _MICROSECONDS
        added = sum(each.change for each in self._up_events if each.time > cutoff)
        deleted = sum(each.change for each in self._down_events if each.time > cutoff)
        return current - added + deleted

    def _write(self, decision: Decision) -> Decision:
        if decision.scaled and self.spec.has_behavior:
            change = decision.replicas - decision.current
            rules, events = (
                (self.spec.scale_up, self._up_events) if change > 0 else (self.spec.scale_down, self._down_events)
            )
            _store(events, abs(change), round(decision.time * _MICROSECONDS), rules.longest_period_seconds)
        return decision


def _divide(value_milli: int, target_milli: int) -> float:
    """Both rounded to floats first, as Go does; Python's own division of integers is more exact."""
    return float(value_milli) / float(target_milli)


def _replicas(proposal: float) -> int:
    return min(math.ceil(proposal), _MOST_REPLICAS)


def _store(events: list[_ScaleEvent], change: int, now: int, longest_period_seconds: int) -> None:
    """Store a scale event, in the slot of the last one that every policy has forgotten."""
    cutoff = now - longest_period_seconds * _MICROSECONDS
    for each in events:
        if each.time < cutoff:
            each.outdated = True
    old = next((each for each in reversed(events) if each.outdated), None)
    if old is None:
        events.append(_ScaleEvent(change, now))
    else:
        old.change, old.time, old.outdated = change, now, False
