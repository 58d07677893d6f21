"""Virtual time: what happens next, in one total order.

Events are ordered by time, then priority, then the order in which they were planned, so that a run is
the same run each time. Times are seconds since the start of the simulation.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum

Action = Callable[[], None]


class Priority(IntEnum):
    """What comes first among events of the same time: the world changes, is measured, then is acted upon."""

    WORLD = 0
    MEASURE = 1
    CONTROL = 2


class Clock:
    """The present, and what is planned."""

    def __init__(self) -> None:
        self.now = 0.0
        self._planned: list[tuple[float, int, int, Action]] = []
        self._sequence = 0

    def at(self, time: float, action: Action, priority: Priority = Priority.WORLD) -> None:
        """Plan an action; what lies in the past happens now."""
        self._sequence += 1
        heapq.heappush(self._planned, (max(time, self.now), priority, self._sequence, action))

    def after(self, seconds: float, action: Action, priority: Priority = Priority.WORLD) -> None:
        """Plan an action that many seconds from now."""
        self.at(self.now + seconds, action, priority)

    def every(self, seconds: float, phase: float, action: Action, priority: Priority) -> None:
        """Plan an action at `phase` from now and every so many seconds after it."""

        def repeat() -> None:
            action()
            self.after(seconds, repeat, priority)

        self.after(phase, repeat, priority)

    @property
    def next_time(self) -> float:
        """When the next event happens; infinity where none is planned."""
        return self._planned[0][0] if self._planned else float("inf")

    def run_until(self, time: float) -> None:
        """Let everything planned up to and including `time` happen; then it is `time`."""
        planned = self._planned
        while planned and planned[0][0] <= time:
            self.now, _, _, action = heapq.heappop(planned)
            action()
        self.now = max(self.now, time)
