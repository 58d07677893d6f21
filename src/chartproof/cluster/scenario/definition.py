"""The scenarios: phases of load and deeds, and what must hold of what was recorded.

Nothing in them is a number of one release: how many requests and replicas come of the release's own formula, plan and
policies (`sizing`). A scenario that a release is not made for says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from chartproof.cluster.scenario import judge
from chartproof.cluster.scenario.judge import Check
from chartproof.cluster.scenario.sizing import PAIR_LOAD, REQUESTS_TO_PROVE, SPARE, Lengths, Sizing
from chartproof.cluster.scenario.timeline import Sample
from chartproof.errors import UsageError
from chartproof.rules._autoscaling import shows_demand

LIFE = "life"
"""Not one of these: installs, looks, upgrades, uninstalls, on a cluster without load (`chartproof.cluster.smoke`)."""
REQUESTS_AT_ZERO = 200


class Deed(StrEnum):
    """Something that is done to a release or its nodes."""

    UPGRADE = "helm upgrade that changes the pods"
    SPOT_NOTICE = "notice that a spot node is taken back"
    WAKE = "office hours begin, for a model that no request wakes"
    OPEN_HOURS = "office hours begin"
    CLOSE_HOURS = "office hours are moved away from now"


@dataclass(frozen=True, slots=True)
class View:
    """What a goal is judged by: the last sample, requests sent in this phase, and those without an answer yet."""

    sample: Sample
    sent: int
    unanswered: int
    rolled_out: bool = True
    node_gone: bool = True
    hours_over: bool = True


@dataclass(frozen=True, slots=True)
class Goal:
    """What a phase waits for."""

    what: str
    holds: Callable[[View, Sizing], bool]


def _no_load(_sizing: Sizing) -> float:
    return 0.0


def _no_burst(_sizing: Sizing) -> int:
    return 0


def _long(sizing: Sizing) -> Lengths:
    return sizing.long


def _short(sizing: Sizing) -> Lengths:
    return sizing.short


def _draining(sizing: Sizing) -> Lengths:
    return sizing.draining


def _rolling(sizing: Sizing) -> Lengths:
    return sizing.rolling


def _pair_load(_sizing: Sizing) -> float:
    return PAIR_LOAD


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a scenario.

    `replicas` is the load in replicas' worth, or `overload` says that it is more than the fewest replicas can do;
    `burst` are requests that are sent at once when it begins. It lasts `seconds` (simulated) and then until its goal is
    reached.
    """

    name: str
    what: str
    replicas: Callable[[Sizing], float] = _no_load
    overload: bool = False
    burst: Callable[[Sizing], int] = _no_burst
    lengths: Callable[[Sizing], Lengths] = _long
    deed: Deed | None = None
    seconds: float = 0.0
    until: Goal | None = None

    def rate(self, sizing: Sizing) -> float:
        """Requests per simulated second."""
        lengths = self.lengths(sizing)
        return sizing.overload(lengths) if self.overload else sizing.rate(self.replicas(sizing), lengths)


def _any_release(_sizing: Sizing) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`excluded` says why it is not for a release, and is empty where it is."""

    name: str
    what: str
    phases: tuple[Phase, ...]
    checks: tuple[Check, ...]
    excluded: Callable[[Sizing], str] = _any_release


def woken_by_requests(sizing: Sizing) -> bool:
    """Whether something outside of the replicas counts requests for the formula."""
    return any(shows_demand(each) for each in sizing.autoscaler.effective_triggers)


def has_hours(sizing: Sizing) -> bool:
    """Whether a cron decides."""
    return any(each.is_cron for each in sizing.autoscaler.effective_triggers)


# --- Goals --------------------------------------------------------------------------------------------------------

RESTING = Goal(
    "as few replicas as the minimum",
    lambda view, sizing: (
        view.sample.replicas == view.sample.current == sizing.minimum
        and (view.sample.ready or 0) == sizing.minimum
        and not view.unanswered
    ),
)
ONE_READY = Goal("a replica serves", lambda view, _: (view.sample.ready or 0) >= 1)
PAIR_SETTLED = Goal(
    "two replicas or more, and all that are asked for, serve",
    # While one is still coming up, a disruption budget lets no other be drained.
    lambda view, _: view.sample.ready == view.sample.replicas and (view.sample.ready or 0) >= 2,  # noqa: PLR2004
)
PEAK_READY = Goal("all replicas of the peak serve", lambda view, sizing: (view.sample.ready or 0) >= sizing.peak)
ANSWERED = Goal("everything is answered", lambda view, _: view.sent > 0 and not view.unanswered)
FEWEST = Goal(
    "as few replicas as one replica's load needs",
    lambda view, sizing: view.sample.replicas == view.sample.current == sizing.floor,
)
ROLLED_OUT = Goal("the rollout is complete", lambda view, _: view.rolled_out)
PAIR_AGAIN = Goal(
    "the node is gone and two replicas serve again",
    lambda view, _: view.node_gone and (view.sample.ready or 0) >= 2,  # noqa: PLR2004
)
HOURS_KEPT = Goal(
    "the replicas of the office hours serve",
    lambda view, sizing: (view.sample.ready or 0) >= max(1, min(sizing.hours_replicas, sizing.maximum)),
)
HOURS_OVER = Goal("the office hours are over", lambda view, _: view.hours_over)


def _min_above_zero(sizing: Sizing) -> str:
    return f"its minimum is {sizing.minimum} replicas" if sizing.minimum else ""


def _grows_not(sizing: Sizing) -> str:
    return "" if sizing.maximum > max(1, sizing.minimum) else f"it has {sizing.maximum} replicas at most"


def _no_pair(sizing: Sizing) -> str:
    return "" if sizing.maximum >= 2 else "it has one replica at most"  # noqa: PLR2004


def _no_spot(sizing: Sizing) -> str:
    return _no_pair(sizing) or ("" if any(each.spot for each in sizing.subject.pools) else "none of its pools is spot")


def _no_hours(sizing: Sizing) -> str:
    return "" if has_hours(sizing) else "no cron is among its triggers"


def _peak_burst(sizing: Sizing) -> int:
    return sizing.burst(sizing.peak, sizing.short)


def _peak_load(sizing: Sizing) -> float:
    return sizing.peak - SPARE


#: From rest to a first replica. A model that no request wakes is woken by its office hours.
_REST = Phase(
    judge.REST,
    "until nothing but the minimum is left",
    deed=Deed.CLOSE_HOURS,
    # Two scrapes: the growth of a counter is seen only after it was scraped once before.
    seconds=60.0,
    until=RESTING,
)
_QUIET = Phase("quiet", "nobody asks any more", deed=Deed.CLOSE_HOURS, until=RESTING)


def _start(lengths: Callable[[Sizing], Lengths] = _long) -> Phase:
    return Phase(
        "first requests",
        "a little load, until a replica serves",
        # So little that what the front door holds meanwhile is no burst when it lets go.
        replicas=lambda _: 0.05,
        lengths=lengths,
        deed=Deed.WAKE,
        seconds=60.0,
        until=ONE_READY,
    )


SCENARIOS: Mapping[str, Scenario] = {
    each.name: each
    for each in (
        Scenario(
            "scale-from-zero",
            f"{REQUESTS_AT_ZERO} requests reach the front door while there is no replica, and none is lost",
            (
                _REST,
                Phase(
                    "asked",
                    f"{REQUESTS_AT_ZERO} requests at once",
                    burst=lambda _: REQUESTS_AT_ZERO,
                    lengths=_short,
                    deed=Deed.WAKE,
                    until=ANSWERED,
                ),
                _QUIET,
            ),
            (
                judge.at_least(REQUESTS_AT_ZERO, "asked"),
                judge.nothing_lost,
                judge.woke,
                judge.never_below_load,
                judge.within_bounds,
                judge.slept,
                judge.rested,
            ),
            _min_above_zero,
        ),
        Scenario(
            "burst",
            "quiet, a burst that needs every replica, quiet: up in one decision, and back",
            (
                _REST,
                _start(),
                Phase(
                    "burst",
                    "many requests at once, until the replicas they need serve",
                    overload=True,
                    burst=_peak_burst,
                    lengths=_short,
                    until=PEAK_READY,
                ),
                Phase("plateau", "the load that those replicas are for", replicas=_peak_load, seconds=150.0),
                _QUIET,
            ),
            (
                judge.nothing_lost,
                judge.grew_at_once,
                judge.reached_peak,
                judge.never_below_load,
                judge.within_bounds,
                judge.slept,
                judge.rested,
            ),
            _grows_not,
        ),
        Scenario(
            "office-hours",
            "the hours of the cron are moved to now: replicas come without a request, and go when the hours are over",
            (
                _REST,
                Phase("open", "the hours begin", deed=Deed.OPEN_HOURS, until=HOURS_KEPT),
                Phase(
                    "asked", "a little load", replicas=lambda _: 0.3, lengths=_short, seconds=120.0, until=HOURS_OVER
                ),
                _QUIET,
            ),
            (judge.opened, judge.nothing_lost, judge.never_below_load, judge.within_bounds, judge.slept, judge.rested),
            _no_hours,
        ),
        Scenario(
            "drain",
            "replicas are taken away under a constant load, and no request with them",
            (
                _REST,
                _start(),
                Phase(
                    "burst",
                    "many requests at once, until several replicas serve",
                    overload=True,
                    burst=_peak_burst,
                    lengths=_short,
                    until=PEAK_READY,
                ),
                Phase(
                    "drain",
                    "half a replica's load, until one replica is left for it",
                    replicas=lambda _: 0.5,
                    lengths=_draining,
                    until=FEWEST,
                ),
                _QUIET,
            ),
            (
                judge.nothing_lost,
                judge.at_least(REQUESTS_TO_PROVE, "drain"),
                judge.shrank,
                judge.never_below_load,
                judge.within_bounds,
                judge.rested,
            ),
            _grows_not,
        ),
        Scenario(
            "rollout",
            "every pod is replaced under load by an upgrade, and no request is lost",
            (
                _REST,
                _start(_rolling),
                Phase(
                    "load",
                    "more than one replica can take",
                    replicas=_pair_load,
                    lengths=_rolling,
                    seconds=120.0,
                    until=PAIR_SETTLED,
                ),
                Phase(
                    "rollout",
                    "the pods change",
                    replicas=_pair_load,
                    lengths=_rolling,
                    deed=Deed.UPGRADE,
                    seconds=60.0,
                    until=ROLLED_OUT,
                ),
                _QUIET,
            ),
            (
                judge.nothing_lost,
                judge.at_least(REQUESTS_TO_PROVE, "rollout"),
                judge.replaced("rollout"),
                judge.within_bounds,
                judge.rested,
            ),
            _no_pair,
        ),
        Scenario(
            "spot-loss",
            "a node is taken back with two minutes' notice under load: its replica drains and another takes its place",
            (
                _REST,
                _start(_short),
                Phase(
                    "load",
                    "more than one replica can take",
                    replicas=_pair_load,
                    lengths=_short,
                    seconds=120.0,
                    until=PAIR_SETTLED,
                ),
                Phase(
                    "spot loss",
                    "one node goes",
                    replicas=_pair_load,
                    lengths=_short,
                    deed=Deed.SPOT_NOTICE,
                    seconds=180.0,
                    until=PAIR_AGAIN,
                ),
                _QUIET,
            ),
            (judge.nothing_lost, judge.replaced("spot loss"), judge.within_bounds, judge.rested),
            _no_spot,
        ),
    )
}
"""By name."""


def chosen(text: str) -> list[str]:
    """The names in a list such as `burst,drain`, or `all`, in the order of definition. Raises UsageError."""
    known = [LIFE, *SCENARIOS]
    names = known if text == "all" else [each.strip() for each in text.split(",") if each.strip()]
    for each in names:
        if each not in known:
            raise UsageError(f"there is no scenario {each!r}", how=f"all, or some of {', '.join(known)}")
    return [each for each in known if each in names]
