"""What must hold of a recorded scenario: pure functions from a timeline to problems; none means that it passed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chartproof.cluster.scenario.timeline import Decision, Sample, Timeline

Check = Callable[[Timeline], list[str]]

REST = "rest"
"""The phase before everything, in which a release that was just installed comes to its minimum."""
HPA = "hpa"
KEDA = "keda"
_TOLERANCE = 0.1
"""Of the HPA: a ratio of metric to target this close to 1 changes nothing."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Reaction:
    """How long it took from load to replicas, in simulated seconds.

    `signal` is when the phase sent its first request, or began where it sent none before the decision (`asked` is
    false then); `ready` is when as many replicas served (None: never).
    """

    decision: Decision
    signal: float
    asked: bool
    ready: float | None

    @property
    def to_decide(self) -> float:
        """From the signal to the decision."""
        return self.decision.second - self.signal

    @property
    def to_ready(self) -> float | None:
        """From the decision until the replicas served."""
        return None if self.ready is None else self.ready - self.decision.second


def reactions(timeline: Timeline) -> list[Reaction]:
    """Each decision to grow, with the time since its phase began to ask."""
    found = []
    for decision in timeline.decisions:
        if not decision.grows:
            continue
        start = timeline.start_of(decision.phase)
        sent = [
            each.sent for each in timeline.requests if each.phase == decision.phase and each.sent <= decision.second
        ]
        signal = min(sent, default=start)
        if signal is None:
            continue
        ready = next(
            (
                each.second
                for each in timeline.samples
                if each.second >= decision.second and (each.ready or 0) >= decision.after
            ),
            None,
        )
        found.append(Reaction(decision, signal, bool(sent), ready))
    return found


def nothing_lost(timeline: Timeline) -> list[str]:
    """Every request was answered completely."""
    lost = timeline.lost
    if not lost:
        return []
    why = ", ".join(f"{count} {outcome}" for outcome, count in Counter(each.outcome for each in lost).most_common())
    first = ", ".join(f"{each.sent:.0f} s ({each.phase})" for each in lost[:_SHOWN])
    said = next((f" ({each.detail})" for each in lost if each.detail), "")
    return [f"{len(lost)} of {len(timeline.requests)} requests were lost: {why}{said}; the first were sent at {first}"]


def at_least(requests: int, *phases: str) -> Check:
    """So many requests were sent in these phases: fewer prove nothing."""

    def check(timeline: Timeline) -> list[str]:
        sent = sum(each.phase in phases for each in timeline.requests)
        if sent >= requests:
            return []
        return [f"{sent} requests were sent while {' and '.join(phases)}, at least {requests} are needed to prove it"]

    return check


def within_bounds(timeline: Timeline) -> list[str]:
    """Never fewer replicas than the minimum nor more than the maximum."""
    setting = timeline.setting
    wrong = [
        each
        for each in timeline.samples
        if each.replicas is not None and each.phase != REST and not setting.minimum <= each.replicas <= setting.maximum
    ]
    if not wrong:
        return []
    return [
        f"{wrong[0].replicas} replicas at {wrong[0].second:.0f} s are outside of {setting.minimum} to {setting.maximum}"
    ]


def never_below_load(timeline: Timeline) -> list[str]:
    """No decision took replicas that the metric still asked for, and none went to zero under a request."""
    return [*_shrunk_below_metric(timeline), *_zero_under_requests(timeline)]


def _shrunk_below_metric(timeline: Timeline) -> Iterator[str]:
    setting = timeline.setting
    for each in timeline.decisions:
        if each.grows or each.controller != HPA or each.metric is None:
            continue
        needed = min(setting.maximum, math.ceil(each.metric / setting.target / (1 + _TOLERANCE) - 1e-9))
        if each.after < needed:
            yield (
                f"the HPA went from {each.before} to {each.after} replicas at {each.second:.0f} s while the metric, "
                f"{each.metric:g}, asked for {needed}"
            )


def _zero_under_requests(timeline: Timeline) -> Iterator[str]:
    for decision in timeline.decisions:
        if decision.after:
            continue
        second = decision.second
        under_way = sum(each.sent < second and (each.done is None or each.done > second) for each in timeline.requests)
        if under_way:
            yield f"replicas went from {decision.before} to 0 at {second:.0f} s under {under_way} requests"


ALWAYS: tuple[Check, ...] = (nothing_lost, within_bounds, never_below_load)
"""What must hold even of a scenario that did not get to its end."""


def reached_peak(timeline: Timeline) -> list[str]:
    """All the replicas that the load was made for served."""
    most = max((each.ready or 0 for each in timeline.samples), default=0)
    peak = timeline.setting.peak
    return [] if most >= peak else [f"at most {most} replicas served, the load was made for {peak}"]


def grew_at_once(timeline: Timeline) -> list[str]:
    """The HPA's first growth went as far as its metric asked and its policies allow.

    What the metric is when the HPA looks is for Prometheus to say: a scrape in the middle of a burst shows a part.
    """
    setting = timeline.setting
    first = first_growth(timeline)
    if first is None:
        return ["the HPA never added a replica"]
    if first.metric is None:
        return [f"what the HPA saw when it went from {first.before} to {first.after} replicas is not known"]
    wanted = math.ceil(first.metric / setting.target - 1e-9)
    reach = setting.reach if first.before <= max(1, setting.minimum) else setting.maximum
    expected = min(wanted, reach, setting.maximum)
    if first.after >= expected:
        return []
    step = f"the HPA went from {first.before} to {first.after} replicas in its first step"
    return [f"{step}, while the metric, {first.metric:g}, asked for {wanted} and its policies allow {reach}"]


def first_growth(timeline: Timeline) -> Decision | None:
    """The HPA's first decision to add replicas, once the release was at rest."""
    return next((each for each in since_rest(timeline) if each.grows and each.controller == HPA), None)


def since_rest(timeline: Timeline) -> list[Decision]:
    """Decisions since the release was at rest.

    It may be installed in the office hours of its own schedule: a replica then comes, and goes, before the scenario.
    """
    return [each for each in timeline.decisions if each.phase != REST]


def woke(timeline: Timeline) -> list[str]:
    """KEDA started a workload from zero."""
    if any(each.before == 0 and each.grows for each in since_rest(timeline)):
        return []
    return ["no replica was started from zero"]


def slept(timeline: Timeline) -> list[str]:
    """A workload whose minimum is zero was taken back to it."""
    if timeline.setting.minimum or any(each.after == 0 for each in since_rest(timeline)):
        return []
    return ["it did not go back to zero"]


def shrank(timeline: Timeline) -> list[str]:
    """Replicas were taken away while requests came in."""
    phases = {each.phase for each in timeline.requests}
    if any(not each.grows and each.phase in phases for each in timeline.decisions):
        return []
    return ["no replica was taken away under load"]


def rested(timeline: Timeline) -> list[str]:
    """In the end there are as many replicas as the minimum says, and nobody waits."""
    if not timeline.samples:
        return ["nothing was recorded"]
    last = timeline.samples[-1]
    minimum = timeline.setting.minimum
    found = []
    if (last.replicas, last.current) != (minimum, minimum):
        found.append(f"in the end there are {_counts(last)} replicas, the minimum is {minimum}")
    if last.busy:
        found.append(f"in the end {last.busy:g} requests are still under way")
    return found


def _counts(sample: Sample) -> str:
    return f"{sample.replicas} wanted and {sample.current} existing"


def replaced(phase: str) -> Check:
    """Two replicas or more served when a phase began that does something to them, and again at its end."""

    def check(timeline: Timeline) -> list[str]:
        start = timeline.start_of(phase)
        before = [each.ready or 0 for each in timeline.samples if start is not None and each.second <= start]
        after = [each.ready or 0 for each in timeline.during(phase)]
        if not before or not after:
            return [f"{phase} was not recorded"]
        return [
            f"{count} replicas served {when} of {phase}, at least {_PAIR} are needed to prove it"
            for when, count in (("at the beginning", before[-1]), ("at the end", after[-1]))
            if count < _PAIR
        ]

    return check


_PAIR = 2


def opened(timeline: Timeline) -> list[str]:
    """The office hours brought replicas although nobody asked, and their end took them away again."""
    asked = {each.phase for each in timeline.requests}
    decisions = since_rest(timeline)
    came = [each for each in decisions if each.grows and each.phase not in asked]
    went = [each for each in decisions if not each.grows and came and each.second > came[0].second]
    found = [] if came else ["the office hours started no replica"]
    return found if went or not came else [*found, "the end of the office hours took no replica away"]
