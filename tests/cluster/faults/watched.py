"""A fault of the table while it is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from tests.cluster.faults.table import BLIND, BY_NAME, DEAD_MAN, Fault

if TYPE_CHECKING:
    from tests.cluster.faults.rig import Rig, Served

ENOUGH = 20
"""Answers that must have come in a fault, so that losing none says something."""
_EVALUATED_SECONDS = 60.0
"""Four scrapes and evaluations: the last that waited are answered, and the alerts that tell of it have begun."""


class Watched:
    """One fault while it is watched."""

    def __init__(self, fault: Fault, rig: Rig, served: Served) -> None:
        self.fault = fault
        self.since = rig.now()
        self.before = frozenset(rig.alerts())
        self._rig = rig
        self._served = served

    def lasts(self, seconds: float = 0.0) -> None:
        """The fault goes on for so long, and until its alerts are there."""
        self._rig.watch(self._served, self._rig.now(), seconds)
        states = {"firing", "pending"} if self.fault.pending else {"firing"}
        wanted = set(self.fault.alerts)
        self._rig.until(
            lambda: wanted <= {name for name, state in self._rig.alerts().items() if state in states},
            f"{sorted(wanted)} tell of it",
        )

    def lost_nothing(self) -> None:
        """Every request since the fault began was answered completely."""
        assert self._served.lost(self.since) == []
        self._rig.until(lambda: self._served.served(self.since) >= ENOUGH, "requests are answered")


Inject = Callable[[str], AbstractContextManager[Watched]]


def injector(rig: Rig, served: Served) -> Inject:
    """Makes blocks in which a fault is injected and mended; afterwards everything must be well by itself."""

    @contextmanager
    def during(name: str) -> Iterator[Watched]:
        fault = BY_NAME[name]
        rig.settled(served)
        rig.until(lambda: not served.now.waiting and not served.now.held, "nothing waits from before")
        rig.watch(served, rig.now(), _EVALUATED_SECONDS)
        # What told of the fault before must have cleared.
        ours = {BLIND, *fault.alerts}
        rig.until(lambda: not ours & set(rig.alerts()), f"{sorted(ours)} clear")
        watched = Watched(fault, rig, served)
        try:
            yield watched
        finally:
            rig.load(served, served.usual)
        rig.settled(served)
        rig.until(lambda: rig.metric(served), "KEDA tells the metric again")
        for each in served.samples(watched.since):
            assert each.replicas is None or each.replicas >= served.replicas, f"scaled down under load: {each}"
        told = {alert for each in served.samples(watched.since) for alert in each.alerts}
        others = told - {*fault.alerts, *fault.may_fire, DEAD_MAN, *watched.before}
        assert not others, f"{sorted(others)} fired, which {name} is no reason for"

    return during
