from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from chartproof.languages.cron import CronError, Window, hours_left_open, is_timezone, parse, similar_timezone

SUNDAY = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def window(start: str, end: str) -> Window:
    return Window(parse(start), parse(end))


@pytest.mark.parametrize(
    "text",
    [
        "0 8 * * 1-5",
        "0 8 * * MON-FRI",
        "0 8 ? * ?",
        "*/5 8-18 * JAN,mar *",
        "0/15 * * * *",
        "CRON_TZ=Europe/Berlin 0 8 * * *",
        "TZ=UTC 0 8 * * *",
        "0 8 1-31/2 * 0",
    ],
)
def test_what_robfig_takes_is_taken(text: str) -> None:
    assert list(islice(parse(text).occurrences(SUNDAY), 3))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("0 8 * *", "found 4"),
        ("0 0 8 * * 1-5", "no seconds"),
        ("0 8 * * 7", "Sunday is 0"),
        ("0 8 * * 0-7", "Sunday is 0"),
        ("0 24 * * *", "0-23"),
        ("60 8 * * *", "0-59"),
        ("0 8 * * fri-mon", "backwards"),
        ("0 8 L * *", "not a number"),
        ("0 8 * * 1#2", "not a number"),
        ("*/0 8 * * *", "step of 0"),
        ("1-2-3 8 * * *", "hyphens"),
        ("1/2/3 8 * * *", "slashes"),
        ("-5 8 * * *", "not a number"),
        ("@daily", "descriptors"),
        ("CRON_TZ=Mars/Base 0 8 * * *", "timezone"),
        ("0 8 * * weekdays", "not a number or a name"),
    ],
)
def test_what_robfig_refuses_is_refused(text: str, reason: str) -> None:
    with pytest.raises(CronError, match=reason):
        parse(text)


def test_descriptors_are_for_those_who_take_them() -> None:
    assert parse("@weekly", descriptors=True).weekdays == {0}
    assert parse("@every 1h30m", descriptors=True).every_seconds == 5400
    with pytest.raises(CronError):
        parse("@sometimes", descriptors=True)
    with pytest.raises(CronError):
        parse("@every 1d", descriptors=True)


def test_occurrences_of_weekdays() -> None:
    days = [each.strftime("%a %H") for each in islice(parse("0 8 * * 1-5").occurrences(SUNDAY), 6)]
    assert days == ["Mon 08", "Tue 08", "Wed 08", "Thu 08", "Fri 08", "Mon 08"]


def test_either_day_field_matches_when_both_are_restricted() -> None:
    days = [each.day for each in islice(parse("0 0 1 * 1").occurrences(SUNDAY), 3)]
    assert days == [23, 30, 1]


def test_a_star_with_a_step_counts_as_restricted() -> None:
    # robfig drops the star for */2: Mondays and odd days, not odd Mondays.
    days = [each.day for each in islice(parse("0 0 */2 * 1").occurrences(SUNDAY), 3)]
    assert days == [23, 25, 27]


def test_a_date_that_never_comes_has_no_occurrence() -> None:
    assert not list(parse("0 0 31 2 *").occurrences(SUNDAY))
    assert window("0 0 31 2 *", "0 20 * * *").never_opens


def test_same_weekdays_make_the_window_that_is_written() -> None:
    office = window("0 8 * * 1-5", "0 22 * * 1-5")
    assert not office.surprise()
    assert office.hours_per_week() == pytest.approx(70, rel=0.1)


def test_a_window_over_midnight_may_have_other_weekdays() -> None:
    assert not window("0 22 * * 1-5", "0 6 * * 2-6").surprise()


def test_more_ends_than_starts_stay_open_over_the_weekend() -> None:
    surprise = window("0 8 * * 1-5", "0 22 * * *").surprise()
    assert "inside the window from Fri 22:00 to Sat 22:00 (24 h)" in surprise


def test_more_starts_than_ends_close_the_weekend() -> None:
    surprise = window("0 8 * * *", "0 22 * * 1-5").surprise()
    assert "outside the window from Sat 08:00 to Sun 08:00 (24 h)" in surprise


def test_weeks_left_open_by_budgets() -> None:
    day = (parse("0 7 * * mon-fri"), 12 * 3600.0)
    assert hours_left_open([day]) == pytest.approx(168 - 60)
    night = (parse("0 19 * * mon-fri"), 12 * 3600.0)
    weekend = (parse("0 7 * * sat,sun"), 24 * 3600.0)
    assert hours_left_open([day, night, weekend]) == 0
    assert hours_left_open([(parse("0 0 * * 0"), 7 * 86400.0)]) == 0


def test_timezones_are_those_of_the_database_and_case_matters() -> None:
    assert is_timezone("Europe/Berlin")
    assert is_timezone("UTC")
    assert not is_timezone("europe/berlin")
    assert not is_timezone("PDT")
    assert similar_timezone("europe/berlin") == "Europe/Berlin"
    assert similar_timezone("Asia/Bangalore") != "Asia/Bangalore"
    assert similar_timezone("America/Berlin") == "Europe/Berlin"
