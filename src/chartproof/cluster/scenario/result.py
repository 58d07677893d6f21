"""What a scenario came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chartproof.cluster.scenario.judge import reactions
from chartproof.cluster.scenario.timeline import Timeline

PERCENTILES = (50.0, 95.0, 99.0)


@dataclass(frozen=True, slots=True)
class Result:
    """A recorded scenario and what was wrong with it; `altered` is what the speed changed in the manifests."""

    timeline: Timeline
    problems: tuple[str, ...]
    altered: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything held."""
        return not self.problems

    @property
    def name(self) -> str:
        """Of preset and scenario, as a file name."""
        return f"{self.timeline.setting.subject}-{self.timeline.setting.scenario}"

    def describe(self) -> dict[str, Any]:
        """Everything as JSON, the timeline included."""
        return {**self.summary(), "altered": list(self.altered), "timeline": self.timeline.to_json()}

    def summary(self) -> dict[str, Any]:
        """The figures as JSON."""
        timeline = self.timeline
        setting = timeline.setting
        return {
            "preset": setting.preset,
            **({"part": setting.part} if setting.part else {}),
            "scenario": setting.scenario,
            "passed": self.passed,
            "problems": list(self.problems),
            "speed": setting.speed,
            "simulatedSeconds": round(timeline.seconds, 1),
            "realSeconds": round(timeline.seconds / setting.speed, 1),
            "requests": len(timeline.requests),
            "lost": len(timeline.lost),
            "firstTokenSeconds": _percentiles(first_tokens(timeline)),
            "endToEndSeconds": _percentiles(end_to_ends(timeline)),
            "mostReady": most_ready(timeline),
            "mostNodes": max((each.node_count for each in timeline.samples), default=0),
            "usd": round(usd(timeline), 4),
            "alerts": sorted({name for each in timeline.samples for name in each.alerts}),
            "reactions": [
                {
                    "controller": each.decision.controller,
                    "from": each.decision.before,
                    "to": each.decision.after,
                    "metric": each.decision.metric,
                    "signalToDecisionSeconds": round(each.to_decide, 1),
                    "signalToDecisionRealSeconds": round(each.to_decide / setting.speed, 2),
                    "decisionToReadySeconds": None if each.to_ready is None else round(each.to_ready, 1),
                }
                for each in reactions(timeline)
            ],
            "remarks": list(timeline.left),
        }


def first_tokens(timeline: Timeline) -> list[float]:
    """Seconds to the first token of what was served, in rising order."""
    return sorted(each.first_token - each.sent for each in timeline.requests if each.served and each.first_token)


def end_to_ends(timeline: Timeline) -> list[float]:
    """Seconds to the end of what was served, in rising order."""
    return sorted(each.done - each.sent for each in timeline.requests if each.served and each.done)


def percentile(ordered: list[float], percent: float) -> float | None:
    """The value that this share does not exceed; None of nothing."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def most_ready(timeline: Timeline) -> int:
    """Most replicas that served at once."""
    return max((each.ready or 0 for each in timeline.samples), default=0)


def usd(timeline: Timeline) -> float:
    """What the nodes cost."""
    return timeline.samples[-1].usd if timeline.samples else 0.0


def _percentiles(ordered: list[float]) -> dict[str, float | None]:
    found = {f"p{percent:g}": percentile(ordered, percent) for percent in PERCENTILES}
    return {name: None if value is None else round(value, 2) for name, value in found.items()}
