"""A small timeline by hand: zero, one, four, one, zero."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chartproof.cluster.scenario.timeline import SERVED, Asked, Decision, Mark, Sample, Setting, Timeline

SETTING = Setting(
    preset="small",
    scenario="burst",
    workload="Deployment/small",
    model="small",
    speed=15.0,
    started="2026-01-05T08:00:00+00:00",
    minimum=0,
    maximum=4,
    target=10.0,
    formula="running + waiting * 10",
    peak=4,
    reach=4,
)

MARKS = tuple(Mark(second, name, is_phase=True) for second, name in ((0.0, "rest"), (60.0, "burst"), (600.0, "quiet")))

DECISIONS = (
    Decision(75.0, "burst", "keda", 0, 1, 0, None, "active"),
    Decision(300.0, "burst", "hpa", 1, 4, 1, 95.0, "SucceededRescale"),
    Decision(900.0, "quiet", "hpa", 4, 2, 4, 11.0, "SucceededRescale"),
    Decision(1200.0, "quiet", "keda", 2, 0, 2, None, ""),
)


def sample(second: float, replicas: int, ready: int, **other: Any) -> Sample:
    phase = next(each.what for each in reversed(MARKS) if each.second <= second)
    given = {"running": 0.0, "waiting": 0.0, "held": 0.0, "current": replicas, "desired": replicas, **other}
    nodes = {"g6.xlarge": replicas} if replicas else {}
    return Sample(second, phase, replicas, ready=ready, nodes=nodes, usd=second / 1000, **given)


SAMPLES = (
    sample(0.0, 0, 0),
    sample(60.0, 0, 0, held=12.0),
    sample(90.0, 1, 0, held=20.0),
    sample(280.0, 1, 1, running=10.0, waiting=8.5, metric=95.0),
    sample(310.0, 4, 1, running=10.0, waiting=2.0, metric=30.0),
    sample(500.0, 4, 4, running=35.0, metric=35.0, alerts=("LlmQueue",)),
    sample(700.0, 4, 4, running=8.0, metric=8.0),
    sample(910.0, 2, 2, metric=0.0),
    sample(1210.0, 0, 0),
)

REQUESTS = (
    *(Asked(60.0 + index, "burst", SERVED, 300.0 + index, 320.0 + index) for index in range(30)),
    *(Asked(500.0 + index, "burst", SERVED, 501.0 + index, 520.0 + index) for index in range(20)),
)


def timeline(**changes: Any) -> Timeline:
    """The good one, with parts replaced; those of `setting` are given as a dictionary."""
    setting = replace(SETTING, **changes.pop("setting", {}))
    made = Timeline(setting, MARKS, SAMPLES, (), DECISIONS, REQUESTS)
    return replace(made, **changes)
