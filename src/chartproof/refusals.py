"""What helm says when it refuses to render, told as which key of which file is wrong and what to write."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chartproof import kubernetes_yaml
from chartproof.errors import RenderError

_SCHEMA_HEAD = "values don't meet the specifications of the schema"
_SCHEMA_LINE = re.compile(r"^- at '(?P<pointer>[^']*)': (?P<problem>.+)$")
_SCHEMA_CHART = re.compile(r"^(?P<name>[a-z0-9-]+):$")
_UNKNOWN_KEYS = re.compile(r"additional properties (?P<names>.+) not allowed")
_REFUSAL = re.compile(r"^\s*\[LLM\d{3}\] (?:(?P<key>[\w.-]+): )?.+")
_TEMPLATE = re.compile(r"(?P<template>[\w.-]+(?:/[\w.-]+)*/templates/[\w./-]+?)(?=[:)\s]|$)")
_MISSING_DEPENDENCY = re.compile(r"missing in charts/ directory: (?P<names>.+)")
_SHOWN_LINES = 2
_MOST_LISTED_KEYS = 12


@dataclass(frozen=True, slots=True)
class Given:
    """Where values came from: files, of which a later one wins, and `--set` expressions, which win over them."""

    values: Sequence[Path] = ()
    settings: Sequence[str] = ()


def explain(chart: Path, given: Given, origin: str, stderr: str, rendered: str) -> RenderError:
    """The error for helm's `stderr`; `rendered` is its debug output where the rendered YAML was broken."""
    text = _clean(stderr)
    lines = text.splitlines()
    refused = [
        f"{_place(given, (match['key'] or '').split('.'))}{match[0].strip()}"
        for match in map(_REFUSAL.match, lines)
        if match
    ]
    if refused:
        what = "the chart refuses these values:\n" + "\n".join(f"  {each}" for each in refused)
        return RenderError(what, where=origin, how="change the keys named above as each line says")
    if _SCHEMA_HEAD in text:
        problems = list(_schema_problems(lines, chart, given))
        what = "these values do not fit the chart's schema:\n" + "\n".join(f"  {each}" for each in problems or [text])
        readme = chart / "README.md"
        return RenderError(what, where=origin, how=f"{readme} lists every key" if readme.is_file() else "")
    missing = _MISSING_DEPENDENCY.search(text)
    if missing:
        return RenderError(
            f"the chart depends on {missing['names']}, which is not in its charts directory",
            where=origin,
            how=f"run: helm dependency build {chart}",
        )
    if "YAML parse error" in text:
        return RenderError(_broken_yaml(text, rendered), where=origin, how="quote the value in the template")
    if "failed parsing --set" in text:
        return RenderError(text, where="--set", how="write --set key.path=value, with a comma inside a value as `\\,`")
    template = _TEMPLATE.search(text)
    how = "give the directory of a chart that `helm lint` accepts"
    if template:
        how = f"set the values that {template['template']} reads, or mend the template"
    return RenderError(text or "helm failed without a message", where=origin, how=how)


def _clean(stderr: str) -> str:
    """Helm's message without its frame and hints."""
    lines = [
        line.rstrip()
        for line in stderr.splitlines()
        if line.strip() and not line.startswith(("Use --debug", "level=", "time=", "WARNING:"))
    ]
    return "\n".join(lines).removeprefix("Error: ")


def _schema_problems(lines: Sequence[str], chart: Path, given: Given) -> Iterator[str]:
    """Helm's schema messages, chart by chart, as `file:line: key: problem`."""
    owner, prefix = chart, list[str]()
    for line in lines:
        heading = _SCHEMA_CHART.match(line)
        if heading:
            subchart = chart / "charts" / heading["name"]
            owner, prefix = (subchart, [heading["name"]]) if subchart.is_dir() else (chart, [])
        match = _SCHEMA_LINE.match(line.strip())
        if match is None:
            continue
        steps = [step.replace("~1", "/").replace("~0", "~") for step in match["pointer"].split("/")[1:]]
        unknown = _UNKNOWN_KEYS.search(match["problem"])
        if unknown is None:
            full = [*prefix, *steps]
            yield f"{_place(given, full)}{'.'.join(full) or 'values'}: {match['problem']}"
            continue
        known = _known_keys(owner, steps)
        for name in re.findall(r"'([^']+)'", unknown["names"]):
            yield _unknown_key([*prefix, *steps, name], known, given)


def _unknown_key(steps: Sequence[str], known: Sequence[str], given: Given) -> str:
    close = difflib.get_close_matches(steps[-1], known, n=1)
    hint = ""
    if close:
        hint = f"; did you mean {close[0]}?"
    elif 0 < len(known) <= _MOST_LISTED_KEYS:
        hint = f"; known are {', '.join(sorted(known))}"
    return f"{_place(given, steps)}{'.'.join(steps)}: unknown key{hint}"


def _known_keys(chart: Path, steps: Sequence[str]) -> list[str]:
    """The keys that the chart's schema allows below `steps`; empty where that cannot be told."""
    try:
        root = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    node: Any = root
    for step in [*steps, None]:
        while isinstance(node, dict) and "$ref" in node:
            target: Any = root
            for part in str(node["$ref"]).removeprefix("#/").split("/"):
                target = target.get(part, {}) if isinstance(target, dict) else {}
            node = target
        if not isinstance(node, dict):
            return []
        if step is not None:
            node = (node.get("properties") or {}).get(step, node.get("additionalProperties"))
    return list(node.get("properties") or {})


def _place(given: Given, steps: Sequence[str]) -> str:
    """`file:line: ` of the last values file that sets the key, or `--set: `; empty where none does."""
    key = ".".join(steps)
    if any(part.partition("=")[0] == key for setting in given.settings for part in setting.split(",")):
        return "--set: "
    for path in reversed(given.values):
        line = _line_of(path, steps)
        if line:
            return f"{path}:{line}: "
    return ""


def _line_of(path: Path, steps: Sequence[str]) -> int | None:
    """The line, from 1, on which a values file writes the key at `steps`."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    line = None
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            pairs = {str(key.value): (key, value) for key, value in node.value}
            if step not in pairs:
                return None
            key, node = pairs[step]
            line = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and step.isdigit() and int(step) < len(node.value):
            node = node.value[int(step)]
            line = node.start_mark.line + 1
        else:
            return None
    return line


def _broken_yaml(text: str, rendered: str) -> str:
    """Which rendered line is broken, with the lines before it."""
    template = _TEMPLATE.search(text)
    name = template["template"] if template else "a template"
    try:
        for _ in kubernetes_yaml.documents(rendered):
            pass
    except kubernetes_yaml.YamlError as error:
        near = rendered.splitlines()[max(0, error.line - 1 - _SHOWN_LINES) : error.line]
        shown = "\n".join(f"  | {each}" for each in near)
        return f"the template {name} renders broken YAML: {error.problem}\n{shown}"
    return text
