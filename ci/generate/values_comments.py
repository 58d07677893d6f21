"""The `# --` comments of a values.yaml: what each key means and what it defaults to.

The format is that of helm-docs: the comment stands right above its key, goes on over further
comment lines, and `# @default -- text` replaces the default that is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chartproof import kubernetes_yaml
from ci.generate.artifacts import ROOT, GenerationError

_COMMENT = re.compile(r"\s*#\s?(.*)")
_START = re.compile(r"--\s+(.*)")
_DEFAULT = re.compile(r"@default\s+--\s+(.*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """A documented key: where it is, its value, and what is said about it.

    `is_section` is true for a mapping whose own keys are documented too: it has no default to show.
    """

    path: tuple[str, ...]
    line: int
    value: Any
    description: str
    shown_default: str
    is_section: bool

    @property
    def key(self) -> str:
        """Dotted path, as written with `--set`; a dot inside a key is escaped."""
        return ".".join(step.replace(".", "\\.") for step in self.path)

    @property
    def default(self) -> str:
        """The default as compact JSON, or the text that `@default` gives."""
        return self.shown_default or json.dumps(self.value, ensure_ascii=False)


def read(path: Path) -> list[Entry]:
    """Every documented key of a values file, in order.

    Raises GenerationError naming each key that has no comment and stands in no documented value;
    sections need none.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    values = kubernetes_yaml.load(text) or {}
    if not isinstance(root, yaml.MappingNode):
        if values:
            raise GenerationError(f"{path}: must be a mapping of values")
        return []
    entries = list(_walk(root, values, text.splitlines(), ()))
    undocumented = [each for each in entries if not each.description and not each.is_section]
    if undocumented:
        raise GenerationError(
            "\n".join(f"{path}:{each.line}: {each.key} has no `# --` comment above it" for each in undocumented)
        )
    return [each for each in entries if each.description]


def _walk(node: yaml.MappingNode, values: Any, lines: Sequence[str], path: tuple[str, ...]) -> Iterator[Entry]:
    for key_node, value_node in node.value:
        key = str(key_node.value)
        here = (*path, key)
        value = values[key]
        line = key_node.start_mark.line
        description, default = _comment_above(lines, line)
        nested = list(_walk(value_node, value, lines, here)) if _is_open(value_node) else []
        is_section = bool(nested) and (not description or any(each.description for each in nested))
        yield Entry(here, line + 1, value, description, default, is_section)
        if is_section:
            yield from nested


def _is_open(node: yaml.Node) -> bool:
    """A mapping written over several lines, whose keys can have comments."""
    return isinstance(node, yaml.MappingNode) and not node.flow_style and bool(node.value)


def _comment_above(lines: Sequence[str], line: int) -> tuple[str, str]:
    block: list[str] = []
    for text in reversed(lines[:line]):
        match = _COMMENT.fullmatch(text)
        if match is None:
            break
        block.insert(0, match[1])
    start = next((i for i, text in reversed(list(enumerate(block))) if _START.match(text)), None)
    if start is None:
        return "", ""
    words, default = [], ""
    for i, text in enumerate(block[start:]):
        shown = _DEFAULT.match(text)
        if shown:
            default = shown[1].strip()
        else:
            words.append(_START.sub(r"\1", text) if i == 0 else text)
    return " ".join(" ".join(words).split()), default
