"""What the hand-written pages say is true: links, commands, names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from chartproof import cli
from tests.presets import ROOT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "UPGRADE.md")] + sorted(
    each for each in (ROOT / "docs").rglob("*.md") if each.parent.name != "rules"
)
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def code_of(page: Path) -> str:
    """Fenced blocks and inline code of a page."""
    text = page.read_text()
    return "\n".join([*re.findall(r"```\w*\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
    missing = [each for each in targets if not (page.parent / each).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    named = set(re.findall(r"^\s*make ([a-z-]+)", code_of(page), re.MULTILINE))
    assert named <= MAKE_TARGETS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_parse(page: Path) -> None:
    parser = cli.build_parser()
    for line in re.findall(
        r"chartproof ((?:check|render|rules|explain|plan|sizes|cluster|smoke|aws-prerequisites) [^|&>`\n]*)",
        code_of(page),
    ):
        words = shlex.split(line, comments=True)
        if not any(word.isupper() or "<" in word or "..." in word for word in words):
            parser.parse_args(words)
