"""docs/rules: a page per rule and an index, from the rules' own documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from chartproof.reserved_rules import documented_rules
from chartproof.rules import Rule
from chartproof.rules.registry import DOCUMENTATION_SECTIONS
from ci.generate.artifacts import ROOT, Artifact, cell

_DIRECTORY = Path("docs/rules")
_AREAS = {
    "0": "References and values",
    "1": "Engine and probes",
    "2": "Autoscaling",
    "3": "Nodes and scheduling",
    "4": "Security",
    "5": "Observability",
    "6": "Weights and storage",
    "7": "Lifecycle and disruption",
    "9": "The harness itself",
}
_NOTICE = "<!-- Generated from the rule's docstring by `make generate`. -->"


def artifacts() -> Iterator[Artifact]:
    """Every page, and the removal of pages whose rule is gone."""
    rules = documented_rules()
    pages = {_path(each): page(each) for each in rules}
    pages[_DIRECTORY / "README.md"] = index(rules)
    yield from (Artifact(path, content) for path, content in pages.items())
    for place in sorted((ROOT / _DIRECTORY).glob("*.md")):
        if (path := place.relative_to(ROOT)) not in pages:
            yield Artifact(path, None)


def page(rule: Rule) -> str:
    """One rule as Markdown."""
    kinds = ", ".join(f"`{each}`" for each in rule.kinds) or "every document"
    lines = [f"# {rule.id} {rule.name}", "", _NOTICE, "", rule.summary, ""]
    lines += ["| Severity | Looks at |", "|---|---|", f"| {rule.severity} | {kinds} |"]
    for title in DOCUMENTATION_SECTIONS:
        lines += ["", f"## {title}", "", _section(title, rule.section(title))]
    return "\n".join(lines) + "\n"


def index(rules: tuple[Rule, ...]) -> str:
    """The list of all rules by area."""
    lines = ["# Rules", "", _NOTICE.replace("the rule's docstring", "the rules' docstrings"), ""]
    lines += [f"{len(rules)} rules. `chartproof explain LLM201` prints a page offline."]
    for area, group in groupby(rules, key=lambda each: each.id[3]):
        lines += ["", f"## {_AREAS[area]}", "", "| Rule | Severity | What it finds |", "|---|---|---|"]
        for each in group:
            link = f"[{each.id}]({_path(each).name}) {each.name}"
            lines.append(f"| {link} | {each.severity} | {cell(each.summary)} |")
    return "\n".join(lines) + "\n"


def _path(rule: Rule) -> Path:
    return _DIRECTORY / f"{rule.id}-{rule.name}.md"


def _section(title: str, text: str) -> str:
    """Prose as it is, plain YAML as a code block, references as a list."""
    if title == "References":
        return "\n".join(f"* {_link(line)}" for line in text.splitlines() if line.strip())
    if title in {"Bad", "Good"} and "`" not in text and ":" in text:
        return f"```yaml\n{text}\n```"
    return text


def _link(line: str) -> str:
    return re.sub(r"(?<![<(\[])(https?://[^\s,;)]+)", r"<\1>", line.strip().removeprefix("* ").removeprefix("- "))
