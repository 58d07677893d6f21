from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from chartproof.cluster.scenario.hours import Window, moved
from chartproof.languages import cron

TRIGGERS = [
    {"type": "prometheus", "metadata": {"query": "up"}},
    {
        "type": "cron",
        "metadata": {
            "timezone": "Europe/Berlin",
            "start": "0 8 * * 1-5",
            "end": "0 20 * * 1-5",
            "desiredReplicas": "1",
        },
    },
]


def is_open(trigger: object, at: datetime) -> bool:
    """As KEDA reckons: the next end comes before the next start."""
    metadata = trigger["metadata"]  # type: ignore[index]
    local = at.astimezone(ZoneInfo(metadata["timezone"]))
    start, end = (next(cron.parse(metadata[key]).occurrences(local)) for key in ("start", "end"))
    return end < start


@pytest.mark.parametrize("clock", ["2026-01-05T08:30:20", "2026-07-01T22:59:59", "2026-03-01T23:58:01"])
def test_hours_are_open_now_and_for_as_long_as_asked(clock: str) -> None:
    now = datetime.fromisoformat(clock).replace(tzinfo=UTC)
    _, trigger = moved(TRIGGERS, Window.open_for(90.0, now))
    assert is_open(trigger, now)
    assert is_open(trigger, now + timedelta(seconds=90))
    assert not is_open(trigger, now + timedelta(seconds=151))


def test_hours_elsewhere_are_closed_now_and_soon() -> None:
    now = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
    untouched, trigger = moved(TRIGGERS, Window.elsewhere(now))
    assert untouched is TRIGGERS[0]
    assert not is_open(trigger, now)
    assert not is_open(trigger, now + timedelta(hours=5))
    assert trigger["metadata"]["desiredReplicas"] == "1"
