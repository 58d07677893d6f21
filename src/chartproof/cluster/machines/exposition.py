"""Prometheus' text format, version 0.0.4, for the exporters that we play.

Families are declared once; their samples are counted in place. Written by us because what engines export is
counted in bulk (a thousand tokens of one span at once), which client libraries do one by one.
Source: prometheus/docs, content/docs/instrumenting/exposition_formats.md.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Counts by bucket; `bounds` are the upper ends without +Inf."""

    __slots__ = ("bounds", "count", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.count = 0
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value that came `times` times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.count += times
        self.sum += value * times


class Summary:
    """A sum and a count, without quantiles."""

    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.count += 1
        self.sum += value


Value = float | Histogram | Summary


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: its type, and its samples by their labels. `name` is as scraped: a counter's ends in `_total`."""

    name: str
    type: str
    help: str
    samples: Sequence[tuple[Labels, Value]]


def labels(pairs: Mapping[str, str]) -> Labels:
    """Labels as families keep them."""
    return tuple(pairs.items())


def render(families: Iterable[Family]) -> str:
    """The page; families without a sample are named all the same, as client libraries do."""
    return "".join(f"{line}\n" for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {_escaped(family.help)}"
    yield f"# TYPE {family.name} {family.type}"
    for pairs, value in family.samples:
        inside = ",".join(f'{name}="{_escaped(text, quotes=True)}"' for name, text in pairs)
        if isinstance(value, Histogram):
            yield from _histogram(family.name, inside, value)
        elif isinstance(value, Summary):
            braces = f"{{{inside}}}" if inside else ""
            yield f"{family.name}_count{braces} {number(value.count)}"
            yield f"{family.name}_sum{braces} {number(value.sum)}"
        else:
            yield f"{family.name}{{{inside}}} {number(value)}" if inside else f"{family.name} {number(value)}"


def _histogram(name: str, inside: str, value: Histogram) -> Iterator[str]:
    before = f"{inside}," if inside else ""
    total = 0
    for bound, count in zip((*value.bounds, math.inf), value.counts, strict=True):
        total += count
        yield f'{name}_bucket{{{before}le="{number(bound)}"}} {number(total)}'
    braces = f"{{{inside}}}" if inside else ""
    yield f"{name}_count{braces} {number(value.count)}"
    yield f"{name}_sum{braces} {number(value.sum)}"


def number(value: float) -> str:
    """A value as Python's client library writes it: always with a point, infinity as `+Inf`."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
