"""What is generated for each chart: values.schema.json and the values table of its README."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from chartproof import kubernetes_yaml
from ci.generate import values_comments
from ci.generate.artifacts import ROOT, Artifact, GenerationError, between_markers, cell
from ci.generate.values_comments import Entry

_SOURCE = "values.schema.yaml"


def artifacts() -> Iterator[Artifact]:
    """The files of every chart that has a hand-written schema."""
    for source in sorted((ROOT / "charts").rglob(_SOURCE)):
        chart = source.parent.relative_to(ROOT)
        entries = values_comments.read(chart / "values.yaml")
        yield Artifact(chart / "values.schema.json", schema(chart, entries))
        if (ROOT / chart / "README.md").is_file():
            yield Artifact(chart / "README.md", between_markers(chart / "README.md", "values", table(entries)))


def schema(chart: Path, entries: list[Entry]) -> str:
    """The schema that Helm enforces: the source plus the descriptions of values.yaml, compact.

    Raises GenerationError where a key of values.yaml is not in the schema: Helm would refuse the
    chart's own defaults.
    """
    path = chart / _SOURCE
    try:
        result = copy.deepcopy(kubernetes_yaml.load((ROOT / path).read_text(encoding="utf-8")))
    except kubernetes_yaml.YamlError as error:
        raise GenerationError(f"{path}: {error}") from error
    missing = []
    for entry in entries:
        node = _property(result, entry.path)
        if node is None:
            missing.append(f"{path}: {entry.key} of values.yaml (line {entry.line}) is not in the schema")
        elif entry.description:
            node.setdefault("description", entry.description)
    if missing:
        raise GenerationError("\n".join(missing))
    _require(result, kubernetes_yaml.load((ROOT / chart / "values.yaml").read_text(encoding="utf-8")))
    return json.dumps(result, ensure_ascii=False, separators=(",", ":")) + "\n"


def _require(node: dict[str, Any], values: Any) -> None:
    """Make every key that has a default required.

    In a values file `key: null` deletes the default, and a template that reads it would fail without
    a word about the cause; so Helm's schema check says it. Keys of open maps may be deleted: that is
    how a user removes an entry.
    """
    if not isinstance(values, dict):
        return
    properties = node.get("properties") or {}
    present = [key for key in properties if values.get(key) is not None]
    if present:
        node["required"] = sorted({*node.get("required", []), *present})
    for key in present:
        _require(properties[key], values[key])


def _property(root: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
    """The subschema of a key, through local references and the values of open maps."""
    node: Any = root
    for step in path:
        inner = _follow(root, node)
        properties = inner.get("properties") or {}
        node = properties.get(step, inner.get("additionalProperties"))
        if not isinstance(node, dict):
            return {} if node is True else None
    return node if isinstance(node, dict) else None


def _follow(root: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The schema that a local `$ref` points to."""
    while "$ref" in node:
        target: Any = root
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        node = target
    return node


def table(entries: list[Entry]) -> str:
    """One Markdown table per top-level key."""
    lines: list[str] = []
    heading = ""
    for top, group in groupby(entries, key=lambda each: each.path[0]):
        rows = list(group)
        title = "General" if [each.path for each in rows] == [(top,)] else f"`{top}`"
        if title != heading:
            lines += ["", f"### {title}", "", "| Key | Default | Description |", "|---|---|---|"]
            heading = title
        lines += [_row(each) for each in rows]
    return "\n".join(lines)


def _row(entry: Entry) -> str:
    default = "" if entry.is_section else f"`{cell(entry.default)}`"
    return f"| `{entry.key}` | {default} | {cell(entry.description)} |"
