"""How an engine stops: the pause before SIGTERM, the drain after it, and the time it is given."""

from __future__ import annotations

from dataclasses import dataclass

from chartproof.rules._models import at_least
from chartproof.rules._pods import grace_seconds, pre_stop_seconds
from chartproof.workload import EngineContainer

#: First vLLM release with `--shutdown-timeout`; from it on, running requests are aborted without it.
SHUTDOWN_TIMEOUT_SINCE = (0, 18, 0)
#: Seconds between the end of the drain and the end of the process that an engine takes at least.
LEAST_TEARDOWN_SECONDS = 5
#: Seconds of teardown to plan with: the engine's workers get up to 15 s to stop.
PLANNED_TEARDOWN_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Seconds of each part; `drain` is 0 where the engine has none."""

    grace: int
    pre_stop: float
    drain: int

    @property
    def needed(self) -> float:
        """The least grace period with which the drain can end."""
        return self.pre_stop + self.drain + LEAST_TEARDOWN_SECONDS

    @property
    def planned(self) -> int:
        """The grace period to write."""
        return int(self.pre_stop + self.drain + PLANNED_TEARDOWN_SECONDS)


def shutdown_of(engine: EngineContainer) -> Shutdown:
    """How the engine's pod stops."""
    drain = engine.integer("--shutdown-timeout", default=0) if drains(engine) else 0
    return Shutdown(grace_seconds(engine.pod), pre_stop_seconds(engine.container), max(0, drain))


def drains(engine: EngineContainer) -> bool:
    """Whether the engine's version knows a drain time (an unknown version is taken for a new one)."""
    return engine.engine == "vllm" and (engine.version is None or at_least(engine, SHUTDOWN_TIMEOUT_SINCE))
