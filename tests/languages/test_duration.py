from __future__ import annotations

import pytest

from chartproof.languages.duration import (
    DurationError,
    go_seconds,
    karpenter_budget_seconds,
    karpenter_seconds,
    prometheus_seconds,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("10s", 10),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("1m1m", 120),
        ("-2m", -120),
        ("+2m", 120),
        ("250ms", 0.25),
        ("3us", 3e-6),
        ("3µs", 3e-6),
        ("720h", 2592000),
    ],
)
def test_go_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert go_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "10", "1d", "30 s", "s", "1h ", "-", "1.h.", "300y", "5M", "9999999h"])
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(DurationError):
        go_seconds(text)


def test_days_are_answered_with_the_hours_to_write() -> None:
    with pytest.raises(DurationError, match="write 720h"):
        karpenter_seconds("30d")
    with pytest.raises(DurationError, match="write 336h"):
        go_seconds("2w")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("5m", 300), ("1d", 86400), ("1w", 604800), ("1y", 31536000), ("1h30m", 5400), ("100ms", 0.1)],
)
def test_prometheus_durations_know_days_and_weeks(text: str, seconds: float) -> None:
    assert prometheus_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1.5m", "5", "1m1h", "1m1m", "-5m", "5 m", "5min"])
def test_what_prometheus_refuses_is_refused(text: str) -> None:
    with pytest.raises(DurationError):
        prometheus_seconds(text)


def test_karpenter_never_elapses() -> None:
    assert karpenter_seconds("Never") == float("inf")


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("1h30m", 5400), ("0s", 0), ("30m1h", 5400)])
def test_karpenter_durations(text: str, seconds: float) -> None:
    assert karpenter_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1.5h", "100ms", "-1h", "never", "1d", "10"])
def test_what_the_karpenter_crd_refuses_is_refused(text: str) -> None:
    with pytest.raises(DurationError):
        karpenter_seconds(text)


@pytest.mark.parametrize(("text", "seconds"), [("8h", 28800), ("90m", 5400), ("8h30m", 30600), ("8h0s", 28800)])
def test_budget_durations(text: str, seconds: float) -> None:
    assert karpenter_budget_seconds(text) == seconds


@pytest.mark.parametrize("text", ["30s", "1d", "30m8h", "8h30s", ""])
def test_what_the_budget_crd_refuses_is_refused(text: str) -> None:
    with pytest.raises(DurationError):
        karpenter_budget_seconds(text)
