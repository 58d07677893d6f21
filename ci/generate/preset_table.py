"""docs/presets.md: the table of presets between its markers, from the presets and their headers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chartproof import kubernetes_yaml
from chartproof.catalog import catalog
from chartproof.plan.candidates import cut
from chartproof.release import dig
from ci.generate.artifacts import ROOT, Artifact, GenerationError, between_markers, cell

_PAGE = Path("docs/presets.md")
_DEFAULTS = Path("charts/llm-inference/values.yaml")
_FIELDS = ("For", "Needs", "Costs")


@dataclass(frozen=True, slots=True)
class Header:
    """The comment a preset begins with: one line on what it is, then what for, needs and costs."""

    title: str
    fields: Mapping[str, str]


def artifacts() -> Iterator[Artifact]:
    """The page with a new table."""
    yield Artifact(_PAGE, between_markers(_PAGE, "presets", table()))


def table() -> str:
    """One row per file of values/, model presets by their price."""
    rows = sorted(_row(path) for path in sorted((ROOT / "values").glob("*.yaml")))
    lines = [
        "| Preset | What | Model | Instance | Weights | Replicas | $ per replica-hour |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(row for _, row in rows)])


def header(path: Path) -> Header:
    """The header of a preset. Raises GenerationError where a part of it is missing."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line.removeprefix("#").strip() for line in lines[: next(_first_value(lines), len(lines))]]
    text = "\n".join(comment)
    title = text.partition("\n\n")[0].replace("\n", " ").strip()
    fields = {
        match[1]: " ".join(match[2].split())
        for match in re.finditer(r"^(\w+):\s+(.*?)(?=^\w+:\s|\Z)", text, re.MULTILINE | re.DOTALL)
    }
    missing = [each for each in _FIELDS if not fields.get(each)]
    if missing or not title:
        raise GenerationError(f"{path}: its header lacks {', '.join(missing) or 'a title'}; see CONTRIBUTING.md")
    return Header(title, fields)


def _first_value(lines: list[str]) -> Iterator[int]:
    return (index for index, line in enumerate(lines) if not line.startswith("#"))


def _row(path: Path) -> tuple[tuple[float, str], str]:
    values = kubernetes_yaml.load(path.read_text(encoding="utf-8")) or {}
    defaults = kubernetes_yaml.load((ROOT / _DEFAULTS).read_text(encoding="utf-8"))

    def value(*steps: str) -> Any:
        return dig(values, *steps, default=dig(defaults, *steps))

    name = f"[{path.stem}](../values/{path.name})"
    title = cell(header(path).title)
    if not value("engine", "enabled"):
        return (-1.0, path.stem), f"| {name} | {title} | | | | | |"
    types = value("nodes", "instanceTypes")
    first = [catalog().instances[each] for each in types[:1] if each in catalog().instances]
    if profile := value("engine", "migProfile"):
        first = [*cut(first, profile, catalog())]
    price = first[0].usd_per_hour if first else None
    if price and profile:
        price /= first[0].gpu_count
    nodes = value("multiNode", "nodes") if value("multiNode", "enabled") else 1
    price = price and price * nodes
    cells = [
        name,
        title,
        value("model", "repository") or value("model", "id"),
        f"{nodes} x " * (nodes > 1) + ", ".join(types),
        value("weights", "delivery"),
        _replicas(value),
        f"{price:.2f}" if price else "",
    ]
    return (price or 0.0, path.stem), f"| {' | '.join(map(str, cells))} |"


def _replicas(value: Any) -> str:
    if not value("autoscaling", "enabled"):
        return str(value("engine", "replicas"))
    return f"{value('autoscaling', 'minReplicas')} to {value('autoscaling', 'maxReplicas')}"
