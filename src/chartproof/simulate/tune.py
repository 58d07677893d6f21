"""The search for settings of an autoscaler that keep an objective at the least cost.

Three rungs. A grid of weight, target and scale-down window runs on a short excerpt of the trace: the hours
whose need differs most. What is not clearly worse goes on to a longer excerpt, where the neighbours of the
best are tried, one number at a time, until none is better; there minimum (up to a fixed count), maximum and
cooldown join. The
front of cost against attainment that is left runs on the whole trace, beside the release as it is, and the
cheapest that keeps the objectives there, and once more under another seed, is the choice.

A trace that is short enough is its own excerpt. Nothing is random: the same seed tries the same settings.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from chartproof.simulate.baselines import BASELINES, Case, run_release
from chartproof.simulate.demand import Need, percentile
from chartproof.simulate.run import Result, demand
from chartproof.simulate.settings import Settings, Tunable

#: Requests of the excerpts, and the least seconds they last: a few cold starts and scale-down windows.
SHORT_REQUESTS = 20_000
LONG_REQUESTS = 100_000
LEAST_SECONDS = 2 * 3600.0
#: A trace that is not longer than this many excerpts is run whole instead.
_NEARLY_WHOLE = 1.5

#: The grid: targets as multiples of the present one, weights, and windows in seconds.
TARGET_FACTORS = tuple(2 ** (step / 2) for step in range(-8, 2))
WEIGHTS = (1.0, 3.0, 10.0)
WINDOWS = (300.0, 900.0, 3600.0)
#: Minimums to try besides: replicas that suffice for this share of the minutes; the last makes it a fixed count.
FLOOR_PERCENTS = (50.0, 90.0, 100.0)
#: So many of the best are tried with each.
_FLOORED = 2
#: How many settings go on from the grid, how many of the front to the whole trace, and runs to look for
#: better neighbours; each of the last two rungs runs at most so often.
SURVIVORS = 12
FINALISTS = 8
NEIGHBOUR_RUNS = 60
#: Seeds are different weather: the choice has to hold under this many further ones.
OTHER_SEEDS = 1

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings and what they came to."""

    settings: Settings
    result: Result

    @property
    def met(self) -> bool:
        """Whether every objective is kept."""
        return all(each.met for each in self.result.attained)

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Smaller is better: objectives kept, then cheaper; where they are not, closer to them."""
        margin = min((each.percent - each.objective.percent for each in self.result.attained), default=0.0)
        cost = round(self.result.gpu_hours, 3)
        return (False, cost, -margin) if self.met else (True, -round(margin, 3), cost)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search found.

    `front` is what no other settings beat in both cost and attainment, cheapest first; `choice` keeps the
    objectives at the least cost (or comes closest, where `choice.met` is False) and `confirmed` is the same
    under another seed; `oracle` attains as much as the choice. `tried` counts settings by rung.
    """

    preset: Trial
    choice: Trial
    confirmed: Trial
    front: tuple[Trial, ...]
    oracle: Result
    tried: tuple[tuple[str, int], ...]

    @property
    def met(self) -> bool:
        """Whether the choice keeps the objectives, under both seeds."""
        return self.choice.met and self.confirmed.met


@dataclass(slots=True)
class _Rung:
    """Runs on one excerpt, each made once. `name` says which hours."""

    name: str
    case: Case
    tunable: Tunable
    progress: Progress
    trials: dict[Settings, Trial] = field(default_factory=dict)

    def run(self, settings: Settings) -> Trial:
        found = self.trials.get(settings)
        if found is None:
            subject = self.tunable.changed(settings)
            found = Trial(settings, run_release(replace(self.case, subject=subject)))
            self.trials[settings] = found
            if len(self.trials) % 10 == 0:
                self.progress(f"{len(self.trials)} settings on {self.name}")
        return found

    def run_all(self, settings: Iterable[Settings]) -> list[Trial]:
        return [self.run(each) for each in settings]


def tune(case: Case, tunable: Tunable, progress: Progress) -> Tuned:
    """Search. `case` is that of the release as it is; progress is told in words."""
    rungs: list[_Rung] = []
    for wanted in (SHORT_REQUESTS, LONG_REQUESTS, math.inf):
        part = excerpt(case, wanted)
        if not rungs or part.trace is not rungs[-1].case.trace:
            rungs.append(_Rung(_span(case, part), part, tunable, progress))
    first, whole = rungs[0], rungs[-1]
    middle = rungs[1] if len(rungs) > 2 else whole  # noqa: PLR2004 - between the first and the last
    current = tunable.current
    first.run_all(dict.fromkeys((current, *grid(tunable))))
    survivors = [each.settings for each in best(first.trials.values(), SURVIVORS)]
    middle.run_all(dict.fromkeys((current, *survivors)))
    middle.run_all(floors(best(middle.trials.values(), 2 * _FLOORED)[:_FLOORED], case.needs))
    _climb(middle, tunable, len(middle.trials) + NEIGHBOUR_RUNS)
    finalists = [each.settings for each in best(middle.trials.values(), FINALISTS)]
    preset = whole.run(current)
    whole.run_all(finalists)
    if not any(each.met for each in whole.trials.values()):
        _climb(whole, tunable, len(whole.trials) + FINALISTS)
    choice, confirmed = _choose(whole, tunable)
    oracle = BASELINES["oracle"](replace(case, attainment=choice.result.attainment))
    progress(f"{len(whole.trials)} settings on {whole.name}; done")
    tried = tuple((each.name, len(each.trials)) for each in rungs)
    return Tuned(preset, choice, confirmed, tuple(front(whole.trials.values())), oracle, tried)


def grid(tunable: Tunable) -> Iterator[Settings]:
    """The first settings to try: load against window, all else as it is."""
    current = tunable.current
    least = _least_window(tunable)
    windows = dict.fromkeys(max(least, each) for each in WINDOWS)
    targets: Iterable[float | None] = [None]
    if current.target is not None:
        targets = dict.fromkeys(max(1.0, float(round(current.target * each))) for each in TARGET_FACTORS)
    weights: Iterable[float | None] = [None] if current.weight is None else dict.fromkeys((*WEIGHTS, current.weight))
    for window in windows:
        for weight in weights:
            for target in targets:
                yield replace(current, weight=weight, target=target, window=window)


def floors(trials: Iterable[Trial], needs: Sequence[Need]) -> Iterator[Settings]:
    """The settings of trials with more replicas at the least; where those are many, the rest matters little."""
    for each in trials:
        now = each.settings
        for replicas in dict.fromkeys(min(now.maximum, percentile(needs, share)) for share in FLOOR_PERCENTS):
            if replicas > now.minimum:
                yield replace(now, minimum=replicas)


def neighbours(trial: Trial, tunable: Tunable, most_needed: int) -> Iterator[Settings]:
    """Settings that differ from a trial's in one number, by a step that is worth a run.

    `most_needed` is what the busiest minute needs of replicas.
    """
    now, current, result = trial.settings, tunable.current, trial.result
    if now.target is not None:
        steps = {max(1.0, float(round(now.target * each))) for each in (0.8, 0.9, 1.1, 1.25)}
        yield from (replace(now, target=each) for each in sorted(steps - {now.target}))
    if now.weight is not None:
        steps = {float(max(1, round(now.weight * each))) for each in (0.5, 2)}
        yield from (replace(now, weight=each) for each in sorted(steps - {now.weight}))
    least = _least_window(tunable)
    steps = {max(least, float(round(now.window * each / 10) * 10)) for each in (2 / 3, 1.5)}
    yield from (replace(now, window=each) for each in sorted(steps - {now.window}))
    # From one to zero is a decision of its own (something has to wake the model), so that is not tried.
    lowest = 0 if current.minimum == 0 else 1
    yield from (
        replace(now, minimum=each) for each in (now.minimum - 1, now.minimum + 1) if lowest <= each <= now.maximum
    )
    # The pools are made for the present maximum, so that it is never raised; nor goes it below the busiest minute's
    # need: a cap that is cheap on one trace is an outage on the next.
    highest = min(now.maximum, result.most_replicas) - 1
    if highest >= max(1, now.minimum, most_needed):
        yield replace(now, maximum=highest)
    if now.maximum < current.maximum:
        yield replace(now, maximum=now.maximum + 1)
    if now.cooldown is not None and now.minimum == 0 and result.seconds_at_zero > 0:
        shortest = math.ceil(tunable.cold_start_seconds)
        steps = {max(shortest, round(now.cooldown * each)) for each in (0.5, 2)}
        yield from (replace(now, cooldown=float(each)) for each in sorted(steps - {now.cooldown}))


def _least_window(tunable: Tunable) -> float:
    """A window below the cold start removes replicas that are still loading (rule LLM229)."""
    return max(WINDOWS[0], math.ceil(tunable.cold_start_seconds / 10) * 10.0)


def _climb(rung: _Rung, tunable: Tunable, most: int) -> None:
    """Try neighbours of the best, and of the best of those, while that helps and runs are left."""
    best_so_far = min(rung.trials.values(), key=lambda each: each.rank)
    while True:
        for settings in neighbours(best_so_far, tunable, percentile(rung.case.needs, 100)):
            if len(rung.trials) >= most:
                return
            rung.run(settings)
        found = min(rung.trials.values(), key=lambda each: each.rank)
        if found.rank >= best_so_far.rank:
            return
        best_so_far = found


def _choose(whole: _Rung, tunable: Tunable) -> tuple[Trial, Trial]:
    """The best trial that holds under another seed too, and that run; else the best, which does not."""
    case = whole.case
    seed = case.options.seed + OTHER_SEEDS
    trace = replace(case.trace, seed=case.trace.seed + OTHER_SEEDS)
    again = _Rung(
        f"{whole.name}, seed {seed}",
        replace(case, trace=trace, options=replace(case.options, seed=seed)),
        tunable,
        whole.progress,
    )
    ordered = sorted(whole.trials.values(), key=lambda each: each.rank)
    for each in ordered:
        if each.met and (confirmed := again.run(each.settings)).met:
            return each, confirmed
    return ordered[0], again.run(ordered[0].settings)


def best(trials: Iterable[Trial], count: int) -> list[Trial]:
    """The best by rank, half of them, and the fronts of cost against attainment, one after the other."""
    left = sorted(trials, key=lambda each: each.rank)
    chosen, left = left[: count // 2], left[count // 2 :]
    while left and len(chosen) < count:
        layer = front(left)
        chosen += _spread(layer, count - len(chosen))
        left = [each for each in left if each not in layer]
    return chosen


def _spread(layer: Sequence[Trial], count: int) -> list[Trial]:
    """So many of a front, evenly, its ends included."""
    if len(layer) <= count:
        return list(layer)
    if count == 1:
        return [layer[-1]]
    return [layer[round(index * (len(layer) - 1) / (count - 1))] for index in range(count)]


def front(trials: Iterable[Trial]) -> list[Trial]:
    """Trials that no other one beats in cost and attainment at once, cheapest first."""
    found: list[Trial] = []
    for each in sorted(trials, key=lambda each: (each.result.gpu_hours, -each.result.attainment)):
        if not found or each.result.attainment > found[-1].result.attainment:
            found.append(each)
    return found


# --- Excerpts -----------------------------------------------------------------------------------------------------


def excerpt(case: Case, requests: float) -> Case:
    """The case on about so many requests: the hours whose need differs most; the case itself where it is that short."""
    needs = case.needs
    total = math.fsum(each.per_second * each.seconds for each in needs)
    if not needs or total <= requests * _NEARLY_WHOLE:
        return case
    duration = needs[-1].time + needs[-1].seconds
    seconds = max(LEAST_SECONDS, duration * requests / total)
    if seconds * _NEARLY_WHOLE >= duration:
        return case
    start = _most_varied(needs, seconds)
    trace = case.trace.between(start, start + seconds)
    return replace(case, trace=trace, needs=demand(case.subject, trace))


def _most_varied(needs: Sequence[Need], seconds: float) -> float:
    """When the span of that length begins in which the largest and the least need are furthest apart."""
    least: deque[Need] = deque()
    most: deque[Need] = deque()
    latest = needs[-1].time + needs[-1].seconds - seconds
    best_range, best_start, end = -1.0, 0.0, 0
    for first in needs:
        if first.time > latest:
            break
        while end < len(needs) and needs[end].time + needs[end].seconds <= first.time + seconds + 1e-6:
            new = needs[end]
            while least and least[-1].replicas >= new.replicas:
                least.pop()
            while most and most[-1].replicas <= new.replicas:
                most.pop()
            least.append(new)
            most.append(new)
            end += 1
        for queue in (least, most):
            while queue and queue[0].time < first.time:
                queue.popleft()
        if least and most and most[0].replicas - least[0].replicas > best_range + 1e-9:
            best_range, best_start = most[0].replicas - least[0].replicas, first.time
    return best_start


def _span(case: Case, part: Case) -> str:
    if part.trace is case.trace:
        return "the whole trace"
    first = (part.trace.start - case.trace.start).total_seconds() / 3600
    last = first + (part.needs[-1].time + part.needs[-1].seconds) / 3600
    return f"hours {first:.1f}-{last:.1f}"
