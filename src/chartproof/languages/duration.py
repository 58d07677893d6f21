"""Durations as the programs of this field write them.

Four notations look alike and are not the same: Go's (`1h30m`, `1.5s`; no days), Kubernetes' and
Karpenter's narrowed forms of it, and Prometheus' (`1d`, whole numbers, largest unit first).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Units of Go's `time.ParseDuration`, in seconds.
_GO_UNITS: Mapping[str, float] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5, the micro sign
    "μs": 1e-6,  # U+03BC, the Greek letter: Go takes both
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_GO_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
#: Go counts in int64 nanoseconds.
_GO_LIMIT_SECONDS = (2**63 - 1) / 1e9

_PROMETHEUS = re.compile(
    r"(?:(?P<y>\d+)y)?(?:(?P<w>\d+)w)?(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s)?(?:(?P<ms>\d+)ms)?"
)
_PROMETHEUS_UNITS: Mapping[str, float] = {
    "y": 365 * 86400.0,
    "w": 7 * 86400.0,
    "d": 86400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
}

_KARPENTER = re.compile(r"([0-9]+(s|m|h))+")
_KARPENTER_BUDGET = re.compile(r"((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)")
_DAYS = re.compile(r"\d+(\.\d+)?\s*(d|w|y|days?|weeks?)", re.IGNORECASE)

#: Karpenter's word for a duration that never elapses.
NEVER = "Never"


class DurationError(ValueError):
    """A duration that its reader would refuse; the message says why and what to write."""


def go_seconds(text: str) -> float:
    """Seconds of a Go duration such as `1h30m` or `-1.5s`; also what Kubernetes' `metav1.Duration` takes.

    Source: Go `time.ParseDuration`. Raises DurationError.
    """
    unsigned = text[1:] if text[:1] in "+-" else text
    if unsigned == "0":
        return 0.0
    position, total = 0, 0.0
    while position < len(unsigned):
        match = _GO_PART.match(unsigned, position)
        if match is None:
            break
        total += float(match[1]) * _GO_UNITS[match[2]]
        position = match.end()
    if not unsigned or position < len(unsigned):
        raise DurationError(f"{text!r} is not a Go duration{_advice(text)}")
    if total > _GO_LIMIT_SECONDS:
        raise DurationError(f"{text!r} is longer than a Go duration can be (about 292 years)")
    return -total if text.startswith("-") else total


def prometheus_seconds(text: str) -> float:
    """Seconds of a Prometheus duration such as `1d12h` or `5m`.

    Whole numbers, each unit at most once, largest first; `0` alone needs no unit. Source: Prometheus
    `model.ParseDuration`. Raises DurationError.
    """
    if text == "0":
        return 0.0
    match = _PROMETHEUS.fullmatch(text)
    if not text or match is None:
        raise DurationError(
            f"{text!r} is not a Prometheus duration: write whole numbers with y, w, d, h, m, s or ms, "
            "largest unit first, such as 1h30m"
        )
    return sum(int(number) * _PROMETHEUS_UNITS[unit] for unit, number in match.groupdict().items() if number)


def karpenter_seconds(text: str) -> float:
    """Seconds of a Karpenter duration (`consolidateAfter`, `expireAfter`): whole h, m and s, or `Never`.

    `Never` is infinity. Source: CRD pattern `^(([0-9]+(s|m|h))+|Never)$`. Raises DurationError.
    """
    if text == NEVER:
        return float("inf")
    if not _KARPENTER.fullmatch(text):
        raise DurationError(f"{text!r} is not a Karpenter duration: write whole h, m and s, or Never{_advice(text)}")
    return go_seconds(text)


def karpenter_budget_seconds(text: str) -> float:
    """Seconds of a disruption budget's `duration`: whole hours and minutes only.

    Source: CRD pattern `^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$`. Raises DurationError.
    """
    if not _KARPENTER_BUDGET.fullmatch(text):
        raise DurationError(f"{text!r} is not a budget's duration: write whole hours and minutes{_advice(text)}")
    return go_seconds(text)


def _advice(text: str) -> str:
    days = _DAYS.fullmatch(text.strip())
    if days is None:
        return ""
    number = float(re.match(r"[\d.]+", text.strip())[0])  # type: ignore[index]
    hours = number * {"d": 24, "w": 168, "y": 8760}[days[2][0].lower()]
    return f"; it has no days, write {hours:g}h"
