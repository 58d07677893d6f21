"""Office hours moved to now: the schedules of cron triggers, which follow the time of day at any speed."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

Body = Mapping[str, Any]

_MINUTE = timedelta(minutes=1)
_AWAY = (timedelta(hours=6), timedelta(hours=7))


@dataclass(frozen=True, slots=True)
class Window:
    """Hours in whole minutes: from `start` (that minute counts) to `end`."""

    start: datetime
    end: datetime

    @classmethod
    def open_for(cls, seconds: float, now: datetime) -> Self:
        """Hours that began this minute and last at least so many seconds more."""
        end = _whole(now + timedelta(seconds=seconds) + _MINUTE)
        return cls(_whole(now), end)

    @classmethod
    def elsewhere(cls, now: datetime) -> Self:
        """Hours that are neither now nor soon."""
        return cls(_whole(now + _AWAY[0]), _whole(now + _AWAY[1]))


def moved(triggers: Sequence[Body], window: Window) -> list[Body]:
    """Triggers of a ScaledObject whose crons are open each day in this window, each in its own time zone."""
    return [_moved(each, window) if each.get("type") == "cron" else each for each in triggers]


def now() -> datetime:
    """The time of day that KEDA goes by."""
    return datetime.now(UTC)


def _moved(trigger: Body, window: Window) -> Body:
    metadata = dict(trigger.get("metadata") or {})
    zone = zoneinfo.ZoneInfo(str(metadata.get("timezone") or "UTC"))
    for key, moment in (("start", window.start), ("end", window.end)):
        local = moment.astimezone(zone)
        metadata[key] = f"{local.minute} {local.hour} * * *"
    return {**trigger, "metadata": metadata}


def _whole(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
