"""What was seen of a release while a scenario ran: what the judge reads, plots show and the simulator is compared with.

Times are simulated seconds since the scenario's start: real ones times the cluster's speed factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from typing import Any, Self

SERVED = "served"
"""Outcome of a request that was answered completely; every other outcome says how it was lost."""
UNANSWERED = "unanswered"
"""Outcome of one that was still under way when the recording ended."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What ran. `peak` is the number of replicas that the load is sized for, `target` what the formula gives each.

    `reach` is what the autoscaler's policies let it have in one decision from the fewest replicas (1 at least).
    `started` is the wall clock at second 0 (ISO 8601), `speed` simulated seconds in a real one. `part` is the workload
    of the release that was played, where it has several.
    """

    preset: str
    scenario: str
    workload: str
    model: str
    speed: float
    started: str
    minimum: int
    maximum: int
    target: float
    formula: str
    peak: int
    reach: int
    part: str = ""

    @property
    def subject(self) -> str:
        """The preset, and which workload of it."""
        return f"{self.preset}-{self.part}" if self.part else self.preset


@dataclass(frozen=True, slots=True)
class Mark:
    """The start of a phase, or something that was done."""

    second: float
    what: str
    is_phase: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """The state at one time; None is what could not be read then.

    `replicas` is what the workload asks for, `current` what exists, `ready` what serves; `desired` is the HPA's own
    word. `metric` is KEDA's composite. `nodes` counts claims of Karpenter by instance type, `usd` what they have cost.
    """

    second: float
    phase: str
    replicas: int | None = None
    current: int | None = None
    ready: int | None = None
    desired: int | None = None
    running: float | None = None
    waiting: float | None = None
    held: float | None = None
    metric: float | None = None
    active: bool | None = None
    fallback: bool | None = None
    nodes: Mapping[str, int] = field(default_factory=dict)
    usd: float = 0.0
    alerts: tuple[str, ...] = ()

    @property
    def node_count(self) -> int:
        """Nodes that exist or are on their way."""
        return sum(self.nodes.values())

    @property
    def busy(self) -> float:
        """Requests that somebody waits for: running, waiting in an engine, held at the front door."""
        return (self.running or 0) + (self.waiting or 0) + (self.held or 0)


@dataclass(frozen=True, slots=True)
class Pass:
    """One status that the HPA controller wrote: what it saw and wanted. It writes none where nothing changed.

    `before` is the scale's `spec.replicas` that it read, `after` what it asked for, `current` the scale's
    `status.replicas`, which it divides the metric by; `metric` is the metric's total. `reasons` are those of its
    conditions by type.
    """

    second: float
    phase: str
    before: int
    after: int
    current: int | None
    metric: float | None
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """A change of the replicas that are asked for, and by whom: `hpa`, `keda` (to and from zero), or `other`."""

    second: float
    phase: str
    controller: str
    before: int
    after: int
    current: int | None = None
    metric: float | None = None
    reason: str = ""

    @property
    def grows(self) -> bool:
        """Whether replicas are added."""
        return self.after > self.before


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as its client saw it. `done` and `first_token` are None where they never came.

    `detail` is what was said about a loss.
    """

    sent: float
    phase: str
    outcome: str
    first_token: float | None = None
    done: float | None = None
    detail: str = ""

    @property
    def served(self) -> bool:
        """Whether it was answered completely."""
        return self.outcome == SERVED


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that was recorded of one scenario."""

    setting: Setting
    marks: tuple[Mark, ...] = ()
    samples: tuple[Sample, ...] = ()
    passes: tuple[Pass, ...] = ()
    decisions: tuple[Decision, ...] = ()
    requests: tuple[Asked, ...] = ()
    left: tuple[str, ...] = ()
    """What could not be read, and other remarks about the recording."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.samples[-1].second if self.samples else 0.0

    @property
    def lost(self) -> tuple[Asked, ...]:
        """Requests that ended without a complete answer; one that is still under way may get it."""
        return tuple(each for each in self.requests if each.outcome not in {SERVED, UNANSWERED})

    def during(self, phase: str) -> tuple[Sample, ...]:
        """Samples of a phase."""
        return tuple(each for each in self.samples if each.phase == phase)

    def start_of(self, phase: str) -> float | None:
        """When a phase began, None where it never did."""
        return next((each.second for each in self.marks if each.is_phase and each.what == phase), None)

    def to_json(self) -> dict[str, Any]:
        """As JSON; rows of samples and requests are lists in the order of `columns`."""
        return {
            "setting": asdict(self.setting),
            "marks": [asdict(each) for each in self.marks],
            "samples": _rows(Sample, self.samples),
            "passes": [asdict(each) for each in self.passes],
            "decisions": [asdict(each) for each in self.decisions],
            "requests": _rows(Asked, self.requests),
            "left": list(self.left),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """The timeline that `to_json` described."""
        return cls(
            setting=Setting(**body["setting"]),
            marks=tuple(Mark(**each) for each in body["marks"]),
            samples=tuple(Sample(**{**each, "alerts": tuple(each["alerts"])}) for each in _from_rows(body["samples"])),
            passes=tuple(Pass(**each) for each in body["passes"]),
            decisions=tuple(Decision(**each) for each in body["decisions"]),
            requests=tuple(Asked(**each) for each in _from_rows(body["requests"])),
            left=tuple(body["left"]),
        )


def _rows(kind: type, found: Sequence[Any]) -> dict[str, Any]:
    return {
        "columns": [each.name for each in fields(kind)],
        "rows": [[_rounded(cell) for cell in astuple(each)] for each in found],
    }


def _from_rows(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(body["columns"], row, strict=True)) for row in body["rows"]]


def _rounded(cell: Any) -> Any:
    return round(cell, 4) if isinstance(cell, float) else cell
