"""The tables of docs/simulator.md that put the preset beside every baseline: what benchmarks/policies.json says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ci.generate.artifacts import ROOT, Artifact, between_markers

_PAGE = Path("docs/simulator.md")
_RESULTS = Path("benchmarks/policies.json")
#: Attainments that differ by no more, in points, are equal (docs/simulator.md, Protocol).
EQUAL_POINTS = 0.5
_HEADINGS = (
    *("trace", "peak need", "requests", "GPU-hours", "attained %", "oracle (attained)", "beside it"),
    *("cheapest baseline as good", "dominated by"),
)
_RELEASE, _ORACLE = "release", "oracle"

Figures = Mapping[str, float]


def artifacts() -> Iterator[Artifact]:
    """The page with new tables."""
    body = json.loads((ROOT / _RESULTS).read_text(encoding="utf-8"))
    yield Artifact(_PAGE, between_markers(_PAGE, "policies", tables(body)))


def tables(body: Mapping[str, Any]) -> str:
    """One table of verdicts, one of every policy."""
    rows = body["rows"]
    names = max((list(each["policies"]) for each in rows), key=len)
    verdicts = [
        f"| {' | '.join(_HEADINGS)} |",
        "|---|--:|--:|--:|--:|--:|--:|---|---|",
        *(_verdict(each) for each in rows),
    ]
    every = [
        f"| trace | {' | '.join(names)} |",
        f"|---|{'--:|' * len(names)}",
        *(
            f"| {each['name']} | {' | '.join(_figures(each['policies'].get(name)) for name in names)} |"
            for each in rows
        ),
    ]
    return "\n".join([*verdicts, "", "Every policy, GPU-hours (attained %):", "", *every])


def _verdict(row: Mapping[str, Any]) -> str:
    policies: Mapping[str, Figures] = row["policies"]
    ours, oracle = policies[_RELEASE], policies[_ORACLE]
    good = as_good(policies)
    cells = (
        row["name"],
        str(row["peakNeed"]),
        f"{row['requests']:,}",
        f"{ours['gpuHours']:.2f}",
        f"{ours['attained']:.2f}",
        _figures(oracle),
        f"{100 * (ours['gpuHours'] / oracle['gpuHours'] - 1):+.0f} %",
        f"{good} {_figures(policies[good])}" if good else "-",
        ", ".join(dominating(row)) or "none",
    )
    return f"| {' | '.join(cells)} |"


def _figures(found: Figures | None) -> str:
    return "-" if found is None else f"{found['gpuHours']:.2f} ({found['attained']:.2f})"


def as_good(policies: Mapping[str, Figures]) -> str:
    """The baseline with the fewest GPU-hours among those that attain as much; empty where none does."""
    least = policies[_RELEASE]["attained"] - EQUAL_POINTS
    found = [name for name in _baselines(policies) if policies[name]["attained"] >= least]
    return min(found, key=lambda name: policies[name]["gpuHours"], default="")


def dominating(row: Mapping[str, Any]) -> list[str]:
    """Baselines with fewer GPU-hours and more attainment than the release.

    Rows that take an hour to measure were measured before every policy was recorded: these say who dominated.
    """
    policies: Mapping[str, Figures] = row["policies"]
    ours = policies[_RELEASE]
    return [
        name
        for name in _baselines(policies)
        if policies[name]["gpuHours"] < ours["gpuHours"] and policies[name]["attained"] > ours["attained"]
    ] + list(row.get("dominatedBy", ()))


def _baselines(policies: Mapping[str, Figures]) -> list[str]:
    return [name for name in policies if name not in {_RELEASE, _ORACLE}]
