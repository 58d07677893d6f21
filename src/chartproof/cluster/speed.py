"""How fast the live cluster's time runs: simulated seconds against real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chartproof.errors import UsageError

DEFAULT_FACTOR = 15.0
"""At 15 the period of scrapes, polls, autoscaling and policies, 15 s, becomes one second exactly."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Simulated seconds that pass in a real one. Raises UsageError for a factor that is no positive number."""

    factor: float = DEFAULT_FACTOR

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise UsageError(
                f"time cannot run {self.factor:g} times as fast",
                how="choose a factor above 0: 1 is real time, 15 is the default",
            )

    def real(self, simulated_seconds: float) -> float:
        """Real seconds that so many simulated ones take."""
        return simulated_seconds / self.factor

    def simulated(self, real_seconds: float) -> float:
        """Simulated seconds that pass in so many real ones."""
        return real_seconds * self.factor


DEFAULT_SPEED = Speed()
