"""KEDA's part: reads the triggers, switches between zero and one, and answers the HPA.

A transcription of KEDA 2.19 to 2.21: `pkg/scaling/scale_handler.go` (what is active),
`pkg/scaling/executor/scale_scaledobjects.go` (what a poll does), `pkg/fallback/fallback.go`,
`pkg/scaling/modifiers/modifiers.go`. What KEDA writes is no event of the HPA, and scaling to zero knows
neither policies nor windows.
"""

from __future__ import annotations

import math
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chartproof.autoscaler import Autoscaler, Trigger
from chartproof.errors import InputError
from chartproof.languages.cron import CronError, Schedule
from chartproof.languages.cron import parse as parse_cron
from chartproof.languages.formula import FormulaError, UnjudgedError
from chartproof.languages.formula.run import go_integer
from chartproof.simulate.hpa import HpaSpec, Metric
from chartproof.simulate.promql import ManyToManyError, UnsupportedQueryError, Value, compile_query
from chartproof.simulate.series import Database

#: The value of a trigger at a time. Raises ScalerError.
Scaler = Callable[[float], float]
#: `failureThreshold` where a fallback names none that can be read.
_DEFAULT_FAILURE_THRESHOLD = 3


class ScalerError(Exception):
    """A trigger that could not be read: Prometheus is down, or its result is not one number."""


@dataclass(frozen=True, slots=True)
class Poll:
    """One poll and what it did. `composite` is what the triggers come to, None where they could not be read."""

    time: float
    current: int
    replicas: int
    reason: str
    active: bool
    composite: float | None

    @property
    def scaled(self) -> bool:
        """Whether the replica count was written."""
        return self.replicas != self.current


@dataclass(slots=True)
class _Reading:
    """What the triggers say: `metrics` for the HPA, `active` and `error` for the poll."""

    metrics: list[Metric]
    active: bool
    error: bool
    composite: float | None


class Keda:
    """One ScaledObject. `scalers` read its triggers, in their order."""

    def __init__(
        self, autoscaler: Autoscaler, scalers: Sequence[Scaler], *, start: datetime, created: float = 0.0
    ) -> None:
        self.autoscaler = autoscaler
        self._scalers = scalers
        self._start = start
        self._created = created
        self._failures = [0] * len(scalers)
        self._last_active: float | None = None
        self._polled: dict[int, float] = {}

    def poll(self, now: float, replicas: int, ready: int) -> Poll:
        """One pass of the loop that runs every `pollingInterval`."""
        reading = self._read(now, replicas, ready, polling=True)
        wanted, reason = self._decide(now, replicas, reading)
        return Poll(now, replicas, wanted, reason, reading.active, reading.composite)

    def metrics(self, now: float, replicas: int, ready: int) -> list[Metric]:
        """What the HPA is told when it asks."""
        return self._read(now, replicas, ready, polling=False).metrics

    def _decide(self, now: float, replicas: int, reading: _Reading) -> tuple[int, str]:  # noqa: PLR0911
        scaler = self.autoscaler
        minimum = scaler.minimum or 0
        if reading.active:
            wakes = replicas == 0 or (scaler.idle is not None and replicas < minimum)
            if reading.error and not wakes:
                return replicas, "active, but a trigger could not be read"
            # Kept in whole seconds: it is a field of the object's status.
            self._last_active = math.floor(now)
            return (max(minimum, 1), "active: woken") if wakes else (replicas, "active")
        # With a fallback to no replicas an error is as good as nothing to do.
        if reading.error and (scaler.fallback is None or scaler.fallback.replicas):
            return replicas, "triggers could not be read: held"
        if (scaler.idle is not None and replicas > scaler.idle) or (replicas > 0 and minimum == 0):
            if not self._cooled_down(now):
                return replicas, "inactive, cooling down"
            return scaler.idle if scaler.idle is not None else minimum, "inactive for the cooldown"
        if scaler.idle is None and replicas < minimum:
            return minimum, "below the minimum"
        return replicas, "inactive"

    def _cooled_down(self, now: float) -> bool:
        if self._last_active is None:
            return self._created + (self.autoscaler.initial_cooldown_seconds or 0.0) < now
        return self._last_active + self.autoscaler.cooldown_seconds < now

    # --- Reading --------------------------------------------------------------------------------------------------

    def _read(self, now: float, replicas: int, ready: int, *, polling: bool) -> _Reading:
        values: list[float | None] = []
        fallen_back = False
        error = False
        for index, trigger in enumerate(self.autoscaler.triggers):
            value = self._value(index, trigger, now, polling=polling)
            values.append(value)
            if value is None:
                covered = self._covered(index)
                fallen_back = fallen_back or covered
                error = error or not covered
        if self.autoscaler.modifiers is not None:
            return self._composite(now, values, replicas, ready, error=error, fallen_back=fallen_back)
        return self._separate(values, replicas, ready, error=error)

    def _value(self, index: int, trigger: Trigger, now: float, *, polling: bool) -> float | None:
        if trigger.use_cached_metrics and not polling and index in self._polled:
            return self._polled[index]
        try:
            value = self._scalers[index](now)
        except ScalerError:
            self._failures[index] += 1
            self._polled.pop(index, None)
            return None
        self._failures[index] = 0
        self._polled[index] = value
        return value

    def _covered(self, index: int) -> bool:
        """Whether the fallback stands in for a trigger that failed."""
        fallback = self.autoscaler.fallback
        if fallback is None or fallback.replicas is None:
            return False
        modifiers = self.autoscaler.modifiers
        if modifiers is not None and not modifiers.target_text.isdigit():
            # `HasValidFallback` reads the target as an integer.
            return False
        threshold = fallback.failure_threshold
        return self._failures[index] > (_DEFAULT_FAILURE_THRESHOLD if threshold is None else threshold)

    def _fallback_replicas(self, replicas: int) -> int:
        fallback = self.autoscaler.fallback
        wanted = fallback.replicas or 0 if fallback is not None else 0
        return {
            "currentReplicas": replicas,
            "currentReplicasIfHigher": max(replicas, wanted),
            "currentReplicasIfLower": min(replicas, wanted),
        }.get(fallback.behavior if fallback is not None else "", wanted)

    def _composite(
        self, now: float, values: Sequence[float | None], replicas: int, ready: int, *, error: bool, fallen_back: bool
    ) -> _Reading:
        modifiers = self.autoscaler.modifiers
        target = (modifiers.target if modifiers is not None else None) or 0.0
        average = modifiers is None or modifiers.metric_type != "Value"
        if error:
            return _Reading(
                [Metric(None, go_integer(target * 1000), average)], active=False, error=True, composite=None
            )
        milli: int | None
        behavior = self.autoscaler.fallback.behavior if self.autoscaler.fallback is not None else ""
        if fallen_back and behavior != "scalingModifiers":
            milli = go_integer(self._for_all(self._fallback_replicas(replicas) * target, ready, average=average) * 1000)
        else:
            milli = self._run_formula(now, values)
            if milli is None and fallen_back:
                milli = go_integer(self._fallback_replicas(replicas) * target * 1000)
        # A formula that fails at run time is no error: the HPA gets no metric, the poll an inactive one.
        activation = modifiers.activation if modifiers is not None else 0.0
        active = milli is not None and activation is not None and milli / 1000 > activation
        return _Reading(
            [Metric(milli, go_integer(target * 1000), average)],
            active=active,
            error=activation is None,
            composite=None if milli is None else milli / 1000,
        )

    def _run_formula(self, now: float, values: Sequence[float | None]) -> int | None:
        formula = self.autoscaler.formula
        if formula is None:
            return None
        named = {
            trigger.name: value for trigger, value in zip(self.autoscaler.triggers, values, strict=True) if trigger.name
        }
        try:
            return formula.run(named, now=lambda: self._start + timedelta(seconds=now)).milli
        except (FormulaError, UnjudgedError):
            return None

    @staticmethod
    def _for_all(value: float, ready: int, *, average: bool) -> float:
        return value if average else value / ready if ready else value

    def _separate(self, values: Sequence[float | None], replicas: int, ready: int, *, error: bool) -> _Reading:
        """Without a formula every trigger is a metric of its own, and any of them keeps the target awake."""
        metrics = []
        active = False
        largest: float | None = None
        for index, (trigger, value) in enumerate(zip(self.autoscaler.triggers, values, strict=True)):
            threshold = trigger.threshold or 1.0
            average = trigger.metric_type != "Value"
            milli: int | None = None
            if value is not None:
                milli = go_integer(value * 1000)
                active = active or value > trigger.activation_threshold
                largest = value if largest is None else max(largest, value)
            elif self._covered(index):
                stand_in = self._for_all(self._fallback_replicas(replicas) * threshold, ready, average=average)
                milli = go_integer(stand_in * 1000)
                active = active or stand_in > trigger.activation_threshold
            metrics.append(Metric(milli, go_integer(threshold * 1000), average))
        return _Reading(metrics, active=active, error=error, composite=largest)


def hpa_spec(autoscaler: Autoscaler) -> HpaSpec:
    """The HPA that KEDA makes: at least one replica, and the rendered behavior with the API server's defaults."""
    path = ("advanced", "horizontalPodAutoscalerConfig", "behavior") if autoscaler.is_keda else ("behavior",)
    behavior = autoscaler.document.get("spec", *path)
    return HpaSpec.of(max(1, autoscaler.minimum or 0), autoscaler.maximum or 1, behavior)


# --- Triggers -----------------------------------------------------------------------------------------------------


def scalers_of(autoscaler: Autoscaler, database: Database, start: datetime) -> list[Scaler]:
    """A reader per trigger. Raises InputError for one that is not simulated."""
    return [_scaler(trigger, database, start, autoscaler.document.identity) for trigger in autoscaler.triggers]


def _scaler(trigger: Trigger, database: Database, start: datetime, where: str) -> Scaler:
    if trigger.is_prometheus:
        return _prometheus(trigger, database, where)
    if trigger.is_cron:
        return cron_scaler(trigger, start, where)
    raise InputError(
        f"{trigger.label} is of type {trigger.type}, which is not simulated",
        where=f"{where} {trigger.path}",
        how="prometheus and cron triggers are",
    )


def _prometheus(trigger: Trigger, database: Database, where: str) -> Scaler:
    query = trigger.query
    if query is None:
        raise InputError(f"{trigger.label} is not simulated: its query does not parse", where=f"{where} {trigger.path}")
    try:
        evaluate = compile_query(query, database)
    except UnsupportedQueryError as error:
        raise InputError(f"{trigger.label} is not simulated: {error}", where=f"{where} {trigger.path}") from None
    null_is_zero = trigger.ignores_null_values

    def read(now: float) -> float:
        try:
            found = evaluate(now)
        except ManyToManyError as error:
            raise ScalerError(str(error)) from None
        return trigger_value(found, null_is_zero=null_is_zero)

    return read


def trigger_value(found: Value, *, null_is_zero: bool) -> float:
    """What KEDA makes of Prometheus' answer. Raises ScalerError."""
    if isinstance(found, list):
        if len(found) > 1:
            raise ScalerError("the query returned several series")
        value = found[0][1] if found else None
    else:
        value = found
    if value is None or not math.isfinite(value):
        if null_is_zero:
            return 0.0
        raise ScalerError("the query returned nothing" if value is None else f"the query returned {value}")
    # Since 2.20.2 a negative value of a scaler counts as 0.
    return max(0.0, value)


def cron_scaler(trigger: Trigger, start: datetime, where: str) -> Scaler:
    """The reader of a cron trigger. Raises InputError."""
    try:
        zone = zoneinfo.ZoneInfo(trigger.metadata.get("timezone", "UTC"))
        opens, closes = parse_cron(trigger.metadata.get("start", "")), parse_cron(trigger.metadata.get("end", ""))
    except (CronError, zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise InputError(f"{trigger.label}: {error}", where=f"{where} {trigger.path}") from None
    wanted = trigger.number("desiredReplicas") or 0.0
    state: list[float] = [-math.inf, 0.0]

    def following(schedule: Schedule, moment: datetime) -> float:
        found = next(schedule.occurrences(moment), None)
        return (found - start).total_seconds() if found is not None else math.inf

    def read(now: float) -> float:
        # The value holds until the next of both events.
        until, value = state
        if now >= until:
            moment = (start + timedelta(seconds=now)).astimezone(zone)
            next_open, next_close = following(opens, moment), following(closes, moment)
            # `not nextStart.Before(nextEnd)`: the window is [start, end).
            value = wanted if next_close <= next_open else 0.0
            state[0], state[1] = min(next_open, next_close), value
        return value

    return read
