"""What decides the replica count: the release's own KEDA and HPA, or one of the baselines' rules.

A policy plans its passes on the clock and calls `World.scale`; each pass that scales, or whose reason is a
new one, is remembered as a tick.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from chartproof.autoscaler import Autoscaler
from chartproof.simulate.clock import Priority
from chartproof.simulate.hpa import SYNC_SECONDS, Hpa
from chartproof.simulate.keda import Keda, hpa_spec, scalers_of
from chartproof.simulate.world import World


@dataclass(frozen=True, slots=True)
class Tick:
    """One pass of a controller: what it wanted (raw, stabilized, limited), what it did, and why.

    `value` is what the signal came to (KEDA's composite, the HPA's metric); None where it was not read.
    """

    time: float
    controller: str
    current: int
    replicas: int
    reason: str
    value: float | None = None
    raw: int | None = None
    stabilized: int | None = None
    limited: int | None = None


@dataclass(slots=True)
class Journal:
    """Ticks worth keeping: those that scaled, and the first of each run of equal reasons."""

    ticks: list[Tick] = field(default_factory=list)
    passes: int = 0
    _reasons: dict[str, str] = field(default_factory=dict)

    def note(self, tick: Tick) -> None:
        """Remember a pass, or count it only."""
        self.passes += 1
        if tick.replicas != tick.current or self._reasons.get(tick.controller) != tick.reason:
            self.ticks.append(tick)
        self._reasons[tick.controller] = tick.reason


class Policy(Protocol):
    """A rule that scales a world; `hold` is how long its front door keeps requests that find no replica."""

    journal: Journal

    def begin(self, world: World) -> None:
        """Plan the passes."""


class KedaPolicy:
    """A ScaledObject: KEDA's poll and the HPA it makes, each at its own phase."""

    def __init__(self, autoscaler: Autoscaler, *, start: datetime, seed: int) -> None:
        self.journal = Journal()
        self.autoscaler = autoscaler
        self._start = start
        self._seed = seed

    def begin(self, world: World) -> None:
        """Plan polls from now on, and HPA passes at a seeded phase."""
        scaler = self.autoscaler
        keda = Keda(scaler, scalers_of(scaler, world.database, self._start), start=self._start)
        hpa = Hpa(hpa_spec(scaler))
        clock = world.clock

        def poll() -> None:
            found = keda.poll(clock.now, world.replicas, world.ready)
            self.journal.note(Tick(found.time, "keda", found.current, found.replicas, found.reason, found.composite))
            if found.scaled:
                world.scale(found.replicas)

        def reconcile() -> None:
            replicas = world.replicas
            metrics = keda.metrics(clock.now, replicas, world.ready) if replicas else []
            found = hpa.reconcile(
                clock.now,
                spec_replicas=replicas,
                status_replicas=replicas,
                ready_pods=world.ready,
                metrics=metrics,
            )
            milli = metrics[0].value_milli if metrics else None
            value = None if milli is None else milli / 1000
            self.journal.note(
                Tick(
                    found.time,
                    "hpa",
                    found.current,
                    found.replicas,
                    found.reason,
                    value,
                    found.raw,
                    found.stabilized,
                    found.limited,
                )
            )
            if found.scaled:
                world.scale(found.replicas)

        clock.every(scaler.polling_seconds, 0.0, poll, Priority.CONTROL)
        phase = random.Random(f"{self._seed} hpa").random() * SYNC_SECONDS  # noqa: S311
        clock.every(SYNC_SECONDS, phase, reconcile, Priority.CONTROL)


class PlannedPolicy:
    """A plan that was made before: replicas from given times on. Static counts have one entry."""

    def __init__(self, plan: Sequence[tuple[float, int]], reason: str) -> None:
        self.journal = Journal()
        self._plan = plan
        self._reason = reason

    def begin(self, world: World) -> None:
        """Plan every change."""
        for time, replicas in self._plan:
            world.clock.at(time, lambda wanted=replicas: self._apply(world, wanted), Priority.CONTROL)  # type: ignore[misc]

    def _apply(self, world: World, replicas: int) -> None:
        self.journal.note(Tick(world.clock.now, "plan", world.replicas, replicas, self._reason))
        if replicas != world.replicas:
            world.scale(replicas)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Fewest and most replicas."""

    low: int
    high: int

    def clamp(self, replicas: int) -> int:
        """The nearest count within."""
        return max(self.low, min(self.high, replicas))


class _Averages:
    """A value sampled at every tick, averaged over windows up to the longest."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        self._samples.append((now, value))
        while self._samples[0][0] <= now - self._longest:
            self._samples.popleft()

    def over(self, now: float, seconds: float) -> float:
        values = []
        for time, value in reversed(self._samples):
            if time <= now - seconds:
                break
            values.append(value)
        return math.fsum(values) / len(values) if values else 0.0


class KnativePolicy:
    """Knative's pod autoscaler on concurrency, with its defaults.

    Stable window 60 s, panic window 6 s entered at twice the target, scale-up rate 1000, scale-down rate 2,
    target 70 % of 100, a tick of 2 s, 30 s of grace before zero. Source: knative serving
    `pkg/autoscaler/scaling/autoscaler.go`, `config/core/configmaps/autoscaler.yaml`.
    """

    TICK_SECONDS = 2.0
    STABLE_SECONDS = 60.0
    PANIC_SECONDS = 6.0
    PANIC_THRESHOLD = 2.0
    TARGET = 70.0
    SCALE_UP_RATE = 1000.0
    SCALE_DOWN_RATE = 2.0
    ZERO_GRACE_SECONDS = 30.0

    def __init__(self, bounds: Bounds) -> None:
        self.journal = Journal()
        self._bounds = bounds
        self._averages = _Averages(self.STABLE_SECONDS)
        self._panicking_since: float | None = None
        self._panic_replicas = 0
        self._idle_since: float | None = None

    def begin(self, world: World) -> None:
        """Plan the ticks."""
        world.clock.every(self.TICK_SECONDS, self.TICK_SECONDS, lambda: self._tick(world), Priority.CONTROL)

    def _tick(self, world: World) -> None:
        now, current = world.clock.now, world.replicas
        world.advance_all()
        self._averages.add(now, world.in_flight)
        stable, panic = (self._averages.over(now, each) for each in (self.STABLE_SECONDS, self.PANIC_SECONDS))
        ready = max(1, world.ready)
        most, fewest = math.ceil(self.SCALE_UP_RATE * ready), math.floor(ready / self.SCALE_DOWN_RATE)
        wanted = min(max(math.ceil(stable / self.TARGET), fewest), most)
        wanted_in_panic = min(max(math.ceil(panic / self.TARGET), fewest), most)
        reason = "stable window"
        if wanted_in_panic / ready >= self.PANIC_THRESHOLD:
            self._panicking_since = now
        elif self._panicking_since is not None and now - self._panicking_since > self.STABLE_SECONDS:
            self._panicking_since = None
            self._panic_replicas = 0
        if self._panicking_since is not None:
            self._panic_replicas = max(self._panic_replicas, wanted_in_panic, current)
            wanted, reason = self._panic_replicas, "panic window: no scaling down"
        if stable > 0 or panic > 0:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        if not wanted and (self._idle_since is None or now - self._idle_since < self.ZERO_GRACE_SECONDS):
            wanted, reason = min(1, current), "grace before zero"
        wanted = self._bounds.clamp(wanted)
        self.journal.note(Tick(now, "knative", current, wanted, reason, stable))
        if wanted != current:
            world.scale(wanted)


class RayServePolicy:
    """Ray Serve's replica autoscaler, with its defaults.

    Target 2 ongoing requests per replica averaged over 30 s, decided every 10 s, scaled up after 30 s and
    down after 600 s of the same wish. Source: ray `serve/autoscaling_policy.py`, `serve/config.py`.
    """

    INTERVAL_SECONDS = 10.0
    LOOK_BACK_SECONDS = 30.0
    TARGET = 2.0
    UP_DELAY_SECONDS = 30.0
    DOWN_DELAY_SECONDS = 600.0
    SAMPLE_SECONDS = 2.0

    def __init__(self, bounds: Bounds) -> None:
        self.journal = Journal()
        self._bounds = bounds
        self._averages = _Averages(self.LOOK_BACK_SECONDS)
        self._wishes = 0

    def begin(self, world: World) -> None:
        """Plan samples and decisions."""
        world.clock.every(self.SAMPLE_SECONDS, self.SAMPLE_SECONDS, lambda: self._sample(world), Priority.MEASURE)
        world.clock.every(self.INTERVAL_SECONDS, self.INTERVAL_SECONDS, lambda: self._decide(world), Priority.CONTROL)

    def _sample(self, world: World) -> None:
        world.advance_all()
        self._averages.add(world.clock.now, world.in_flight)

    def _decide(self, world: World) -> None:
        now, current = world.clock.now, world.replicas
        ongoing = self._averages.over(now, self.LOOK_BACK_SECONDS)
        wish = self._bounds.clamp(math.ceil(ongoing / self.TARGET))
        wanted, reason = current, "as it is"
        if wish > current:
            # Positive counts are wishes to grow, negative ones to shrink; another wish starts over.
            self._wishes = max(self._wishes, 0) + 1
            reason = "wants more, not for long enough"
            if self._wishes > self.UP_DELAY_SECONDS / self.INTERVAL_SECONDS:
                wanted, reason, self._wishes = wish, "wanted more for the delay", 0
        elif wish < current:
            self._wishes = min(self._wishes, 0) - 1
            reason = "wants less, not for long enough"
            if -self._wishes > self.DOWN_DELAY_SECONDS / self.INTERVAL_SECONDS:
                wanted, reason, self._wishes = wish, "wanted less for the delay", 0
        else:
            self._wishes = 0
        self.journal.note(Tick(now, "ray-serve", current, wanted, reason, ongoing))
        if wanted != current:
            world.scale(wanted)


#: Makes a policy for one run.
PolicyMaker = Callable[[], Policy]
