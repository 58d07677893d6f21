"""`chartproof render`, `rules` and `explain`, and the program as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chartproof import __version__, kubernetes_yaml
from chartproof.reserved_rules import documented_rules

Run = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]


def test_rendered_stream_says_where_each_object_comes_from(run: Run, tiny: Path) -> None:
    rendered = run("render", tiny).stdout
    assert "# Source: tiny/templates/deployment.yaml" in rendered
    kinds = [body["kind"] for _, body in kubernetes_yaml.documents(rendered)]
    assert kinds == ["CustomResourceDefinition", "ConfigMap", "Deployment", "Job"]


def test_rendered_stream_can_be_checked(run: Run, tiny: Path) -> None:
    rendered = run("render", tiny).stdout
    found = json.loads(run("check", "-", "--format", "json", stdin=rendered.encode()).stdout)
    assert found["releases"][0]["documents"] == 4


def test_rendered_values_survive_reading(run: Run, write: Write) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n"
    text += "  'yes': 'yes'\n  'y': 'y'\n  at: '12:30:45'\n  day: '2026-01-01'\n  number: '1e3'\n"
    text += "  script: |\n    a\n    b\n"
    manifest = write("a.yaml", text)
    rendered = run("render", manifest).stdout
    assert kubernetes_yaml.load(rendered) == kubernetes_yaml.load(text)
    assert "script: |" in rendered


def test_release_name_is_the_preset_without_dots(run: Run, write: Write, tiny: Path) -> None:
    preset = write("qwen2.5-7b.yaml", "replicas: 1\n")
    assert "name: qwen2-5-7b\n" in run("render", "--chart", tiny, preset).stdout
    assert "name: other\n" in run("render", "--chart", tiny, preset, "--name", "other").stdout


def test_namespace_is_given_to_the_chart(run: Run, tiny: Path) -> None:
    assert "release: llm\n" in run("render", tiny).stdout
    assert "release: elsewhere\n" in run("render", tiny, "-n", "elsewhere").stdout


def test_rules_as_json(run: Run) -> None:
    listed = json.loads(run("rules", "--format", "json").stdout)
    assert listed.keys() == {"rules"}
    assert [each["id"] for each in listed["rules"]] == sorted(each.id for each in documented_rules())
    assert all(each.keys() == {"id", "name", "severity", "summary"} for each in listed["rules"])
    assert {each["severity"] for each in listed["rules"]} <= {"error", "warning", "note"}


def test_rules_as_text_has_one_line_each(run: Run) -> None:
    assert len(run("rules").stdout.splitlines()) == len(documented_rules())


@pytest.mark.parametrize("rule", documented_rules(), ids=lambda each: each.id)
def test_every_rule_is_explained_by_id_and_by_name(run: Run, rule: Any) -> None:
    by_id = run("explain", rule.id)
    assert by_id.code == 0
    assert by_id.stdout == run("explain", rule.name).stdout == run("explain", rule.id.lower()).stdout
    for title in ("What", "Why it hurts", "Bad", "Good", "References"):
        assert f"\n{title}:\n" in by_id.stdout


def test_unknown_rule_offers_the_closest(run: Run) -> None:
    result = run("explain", "unused-supression")
    assert result.code == 2
    assert "did you mean LLM901 unused-suppression" in result.stderr


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"chartproof {__version__}\n"


def test_help_lists_every_command_and_the_exit_codes(run: Run) -> None:
    shown = run("--help").stdout
    for command in ("check", "render", "rules", "explain", "plan", "sizes", "cluster", "smoke", "toolchain"):
        assert f"\n    {command} " in shown
    assert "exit codes: 0 clean, 1 findings" in shown
