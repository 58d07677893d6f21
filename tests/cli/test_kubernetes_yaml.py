"""YAML is read as Helm reads it; Helm itself is the judge."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chartproof import helm, kubernetes_yaml

Write = Callable[[str, str | bytes], Path]

SCALARS = """
12:30:45 | 2026-01-01 | 2026-01-01T10:00:00Z | 1e3 | 1E-3 | 1.5e+2 | 1.0 | 1.50 | .5 | 5. | +7 | -7 | 007 | 0777 | 08
0x1F | 0o17 | 0b101 | -0b11 | 1_000 | 1_0.5 | y | Y | n | N | yes | No | on | OFF | true | True | TRUE | tRue | null
Null | ~ | none | = | "5" | '5' | 5 | 4Gi | 100m | 1.2.3 | v1 | 16mb | 0 | -0 | 00 | 1e | e3 | .e3 | + | . | 1,000 | 0x
0xZZ | 9e999x | 1e21 | 123456789 | !!str 5 | !!int "5" | !!float 5 | 2026-1-1 | 1__0 | _1 | 0.0 | -1.0 | 1e0
"""
WORDS = [word.strip() for word in SCALARS.strip().replace("\n", "|").split("|")]


def by_helm(write: Write, text: str) -> Any:
    """What Helm's `fromYaml` makes of a text, as JSON."""
    chart = write("chart/Chart.yaml", "apiVersion: v2\nname: x\nversion: 0.1.0\n").parent
    write("chart/data.yaml", text)
    write("chart/templates/a.yaml", '# {{ .Files.Get "data.yaml" | fromYaml | toJson }}\na: 1\n')
    done = subprocess.run(
        [str(helm.program()), "template", "x", str(chart)], capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("# {"))
    return json.loads(line.removeprefix("# "))


def test_scalars_are_what_helm_makes_of_them(write: Write) -> None:
    text = "\n".join(f"key{index}: {word}" for index, word in enumerate(WORDS))
    theirs = by_helm(write, text)
    assert len(theirs) == len(WORDS)
    ours = kubernetes_yaml.load(text)
    pairs = {word: (ours[f"key{index}"], theirs[f"key{index}"]) for index, word in enumerate(WORDS)}
    differing = {word: pair for word, pair in pairs.items() if repr(pair[0]) != repr(pair[1])}
    assert not differing


def test_structure_is_what_helm_makes_of_it(write: Write) -> None:
    text = """
base: &base {a: 1, b: [x, &y y, *y]}
merged: {<<: *base, a: 2}
several:
  <<: [*base, {c: 3}]
alias: *base
1: number
true: boolean
1.5: fraction
folded: >
  one
  two
literal: |-
  one

  two
"quoted: key": 'it''s'
empty:
nested: [[], {}, [a, {b: c}]]
"""
    assert kubernetes_yaml.load(text) == by_helm(write, text)


LEAVES = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(st.characters(exclude_categories=["C"]))


@given(st.recursive(LEAVES, st.lists, max_leaves=20))
def test_json_is_yaml(value: Any) -> None:
    assert kubernetes_yaml.load(json.dumps({"value": value}, ensure_ascii=False)) == {"value": value}


def test_documents_come_with_their_lines() -> None:
    text = "# comment\na: 1\n---\n---\n\nb: 2\n...\n---\n- c\n"
    assert list(kubernetes_yaml.documents(text)) == [(2, {"a": 1}), (4, None), (6, {"b": 2}), (9, ["c"])]


@pytest.mark.parametrize("text", ["a: 1\na: 2\n", "{a: 1, a: 2}", "true: 1\n'true': 2\n", "a: {b: 1, c: 2, b: 3}"])
def test_key_given_twice_is_refused(text: str) -> None:
    with pytest.raises(kubernetes_yaml.YamlError, match="given twice"):
        kubernetes_yaml.load(text)


@pytest.mark.parametrize("text", ["{[a]: 1}", "? {a: 1}\n: 2", "~: 1", "a: &x [*x]", "a: !!int five", "<<: 5"])
def test_what_no_object_can_hold_is_refused(text: str) -> None:
    with pytest.raises(kubernetes_yaml.YamlError):
        kubernetes_yaml.load(text)


def test_second_document_is_refused_where_one_is_expected() -> None:
    with pytest.raises(kubernetes_yaml.YamlError, match="line 3: a second document"):
        kubernetes_yaml.load("a: 1\n---\nb: 2\n")
