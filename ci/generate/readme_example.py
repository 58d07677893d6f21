"""The report in README.md: what chartproof really says about docs/example.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from chartproof import check, manifests
from chartproof.report import text
from chartproof.report.terminal import Paint
from ci.generate.artifacts import ROOT, Artifact, between_markers

_PAGE = Path("README.md")
_EXAMPLE = Path("docs/example.yaml")
_SELECTED = "LLM1,LLM7"


def artifacts() -> Iterator[Artifact]:
    """The README with a new report."""
    release = manifests.read_files([ROOT / _EXAMPLE], name=str(_EXAMPLE))
    result = check.check([release], selected=check.select(_SELECTED.split(","), []))
    report = text.render(result, Paint(enabled=False)).rstrip()
    command = f"$ chartproof check {_EXAMPLE} --select {_SELECTED}"
    yield Artifact(_PAGE, between_markers(_PAGE, "example report", f"```\n{command}\n{report}\n```"))
