"""Cron expressions as robfig/cron v3 reads them: KEDA's cron trigger and Karpenter's budgets.

The dialect is not Vixie's: five fields, weekday 7 does not exist, `?` equals `*`, `L`, `W` and `#`
do not exist, and `*/2` counts as a restricted field. Occurrences are computed by cronsim on the
expanded fields. Source: robfig/cron v3.0.1 `parser.go`, `spec.go`; KEDA v2.21.0
`pkg/scalers/cron_scaler.go`.
"""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from itertools import pairwise

from cronsim import CronSim, CronSimError

from chartproof.languages.duration import DurationError, go_seconds

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_WEEKDAYS = {name: number for number, name in enumerate(_WEEKDAY_NAMES)}
_FIELDS: tuple[tuple[str, int, int, Mapping[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _WEEKDAYS),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
#: A Monday at midnight: weeks are laid out from here. Any would do.
_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
_WEEK_SECONDS = 7 * 86400
#: Schedules that depend on dates are looked at over a year, others over four weeks.
_SPAN_OF_DATES = timedelta(days=366)
_SPAN_OF_WEEKS = timedelta(days=28)


class CronError(ValueError):
    """A schedule that robfig/cron refuses; the message says why."""


@dataclass(frozen=True)
class Schedule:
    """A parsed schedule. `timezone` is that of a `TZ=` or `CRON_TZ=` prefix, else empty.

    `every_seconds` is set for `@every`, whose occurrences depend on when the program started; the
    sets of fields are empty then.
    """

    text: str
    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True
    any_weekday: bool = True
    timezone: str = ""
    every_seconds: float | None = None

    @cached_property
    def _expanded(self) -> str:
        fields = [self.minutes, self.hours, self.days, self.months, self.weekdays]
        words = [",".join(str(each) for each in sorted(field)) for field in fields]
        # A star in either day field makes the other decide; without one, either may match.
        if self.any_day:
            words[2] = "*"
        if self.any_weekday:
            words[4] = "*"
        return " ".join(words)

    def occurrences(self, after: datetime) -> Iterator[datetime]:
        """Times after `after`, in its timezone; none for a date that never comes and for `@every`."""
        if self.every_seconds is not None or not all((self.minutes, self.hours, self.days, self.months, self.weekdays)):
            return
        try:
            yield from CronSim(self._expanded, after)
        except CronSimError:
            return

    @property
    def depends_on_dates(self) -> bool:
        """Whether weeks differ: a day of month or a month is restricted."""
        return not self.any_day or len(self.months) < len(_MONTHS)

    @property
    def starts_on(self) -> frozenset[int]:
        """Weekdays it fires on, 0 for Sunday, where only weekdays are restricted; all seven otherwise."""
        return self.weekdays if self.any_day else frozenset(range(7))


def parse(text: str, *, descriptors: bool = False) -> Schedule:
    """Parse as `cron.NewParser(Minute|Hour|Dom|Month|Dow)`; `descriptors` allows `@daily` and its like.

    KEDA takes no descriptors; Karpenter does (`ParseStandard`). Raises CronError.
    """
    if not text:
        raise CronError("the schedule is empty")
    timezone = ""
    spec = text
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, _, spec = text.partition(" ")
        timezone = head.partition("=")[2]
        if not is_timezone(timezone):
            raise CronError(f"unknown timezone {timezone!r} in {text!r}")
        spec = spec.strip()
    if spec.startswith("@"):
        return _descriptor(text, spec, timezone, allowed=descriptors)
    words = spec.split()
    if len(words) != len(_FIELDS):
        hint = "; it has no seconds field" if len(words) == len(_FIELDS) + 1 else ""
        raise CronError(f"expected exactly 5 fields, found {len(words)} in {text!r}{hint}")
    sets: list[frozenset[int]] = []
    stars: list[bool] = []
    for word, (name, low, high, names) in zip(words, _FIELDS, strict=True):
        values, star = _field(word, name, low, high, names)
        sets.append(values)
        stars.append(star)
    minutes, hours, days, months, weekdays = sets
    return Schedule(text, minutes, hours, days, months, weekdays, stars[2], stars[4], timezone)


def _descriptor(text: str, spec: str, timezone: str, *, allowed: bool) -> Schedule:
    if not allowed:
        raise CronError(f"{text!r}: descriptors such as @daily are not accepted here, write five fields")
    if spec.startswith("@every "):
        try:
            return Schedule(text, timezone=timezone, every_seconds=go_seconds(spec.removeprefix("@every ")))
        except DurationError as error:
            raise CronError(str(error)) from None
    if spec not in _DESCRIPTORS:
        raise CronError(f"unrecognized descriptor: {spec}")
    return replace(parse(_DESCRIPTORS[spec]), text=text, timezone=timezone)


def _field(word: str, name: str, low: int, high: int, names: Mapping[str, int]) -> tuple[frozenset[int], bool]:
    values: set[int] = set()
    star = False
    for part in filter(None, word.split(",")):
        range_text, slash, step_text = part.partition("/")
        ends = range_text.split("-")
        if "/" in step_text or len(ends) > 2:  # noqa: PLR2004 - a range has two ends
            raise CronError(f"{part!r} in the {name} field has too many {'slashes' if slash else 'hyphens'}")
        step = _integer(step_text, name, {}) if slash else 1
        if ends[0] in {"*", "?"}:
            first, last = low, high
            star = star or step <= 1
        else:
            first = _integer(ends[0], name, names)
            last = _integer(ends[-1], name, names)
            if slash and len(ends) == 1:
                last = high
        if first < low or last > high:
            sunday = "; Sunday is 0" if name == "day of week" and last == high + 1 else ""
            raise CronError(f"{part!r} is outside {low}-{high} of the {name} field{sunday}")
        if first > last:
            raise CronError(f"{part!r} in the {name} field runs backwards; write it as two ranges")
        if step == 0:
            raise CronError(f"{part!r} in the {name} field has a step of 0")
        values.update(range(first, last + 1, step))
    return frozenset(values), star


def _integer(text: str, name: str, names: Mapping[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"\+?[0-9]+", text):
        raise CronError(f"{text!r} in the {name} field is not a number" + (" or a name" if names else ""))
    return int(text)


@dataclass(frozen=True, slots=True)
class Window:
    """The time between a start and an end schedule, as KEDA's cron trigger sees it.

    KEDA is inside when the next event is an end. That is the time from each start to the next end
    only as long as starts and ends alternate.
    """

    start: Schedule
    end: Schedule

    def _events(self) -> list[tuple[datetime, bool]]:
        dates = self.start.depends_on_dates or self.end.depends_on_dates
        until = _MONDAY + (_SPAN_OF_DATES if dates else _SPAN_OF_WEEKS)
        events: list[tuple[datetime, bool]] = []
        for schedule, is_start in ((self.start, True), (self.end, False)):
            for moment in schedule.occurrences(_MONDAY - timedelta(seconds=1)):
                if moment >= until:
                    break
                events.append((moment, is_start))
        return sorted(events)

    @property
    def never_opens(self) -> bool:
        """Whether a start or an end never comes (such as 31 February)."""
        return len({is_start for _, is_start in self._events()}) < 2  # noqa: PLR2004 - starts and ends

    def surprise(self) -> str:
        """Where KEDA's window is not the one written: a sentence with the first such time, or empty."""
        for (first, first_is_start), (second, second_is_start) in pairwise(self._events()):
            if first_is_start != second_is_start or first == second:
                continue
            span = f"{_moment(first)} to {_moment(second)} ({(second - first).total_seconds() / 3600:g} h)"
            if first_is_start:
                return f"two starts follow each other without an end, KEDA is outside the window from {span}"
            return f"two ends follow each other without a start, KEDA is inside the window from {span}"
        return ""

    def hours_per_week(self) -> float:
        """Hours of an average week that KEDA is inside."""
        events = self._events()
        inside = sum(
            (later - earlier).total_seconds() for (earlier, _), (later, is_start) in pairwise(events) if not is_start
        )
        span = (events[-1][0] - events[0][0]).total_seconds() if len(events) > 1 else 0.0
        return inside / span * _WEEK_SECONDS / 3600 if span else 0.0


def _moment(moment: datetime) -> str:
    # isoweekday() has Sunday as 7; strftime would speak the machine's language.
    return f"{_WEEKDAY_NAMES[moment.isoweekday() % 7].capitalize()} {moment:%H:%M}"


def hours_left_open(windows: Iterable[tuple[Schedule, float]]) -> float:
    """Hours of a week that no window of a schedule and a length in seconds covers.

    For Karpenter's scheduled disruption budgets: 0 means the whole week has a limit.
    """
    end = _MONDAY + timedelta(seconds=_WEEK_SECONDS)
    spans: list[tuple[datetime, datetime]] = []
    for schedule, seconds in windows:
        length = timedelta(seconds=min(seconds, 10 * _WEEK_SECONDS))
        for moment in schedule.occurrences(_MONDAY - length - timedelta(seconds=1)):
            if moment >= end:
                break
            spans.append((moment, moment + length))
    open_seconds = 0.0
    covered = _MONDAY
    for first, last in sorted(spans):
        open_seconds += max(0.0, (min(first, end) - covered).total_seconds())
        covered = max(covered, min(last, end))
    open_seconds += max(0.0, (end - covered).total_seconds())
    return open_seconds / 3600


@cache
def timezones() -> frozenset[str]:
    """Names of the IANA database (the system's, or the tzdata package's)."""
    return frozenset(zoneinfo.available_timezones())


def is_timezone(name: str) -> bool:
    """Whether Go's `time.LoadLocation` knows the name; case matters."""
    return name in {"UTC", "Local", ""} or name in timezones()


def similar_timezone(name: str) -> str:
    """The most similar known timezone, or empty."""
    by_lower = {each.lower(): each for each in timezones()}
    if name.lower() in by_lower:
        return by_lower[name.lower()]
    cities = {each.rpartition("/")[2].lower(): each for each in sorted(timezones())}
    city = name.rpartition("/")[2].lower().replace(" ", "_")
    found = difflib.get_close_matches(name.lower(), by_lower, 1) or []
    if city in cities:
        return cities[city]
    return by_lower[found[0]] if found else ""
