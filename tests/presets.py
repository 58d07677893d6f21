"""The presets of values/, rendered once per test process."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from chartproof import helm, inputs
from chartproof.release import Release

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / inputs.CHART
STEMS = tuple(sorted(each.stem for each in (ROOT / "values").glob("*.yaml")))


def path_of(stem: str) -> Path:
    return ROOT / "values" / f"{stem}.yaml"


@cache
def render(stem: str, overlay: str = "{}") -> Release:
    """A preset as `chartproof check` sees it; `overlay` is YAML laid over its values."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        file.write(overlay)
        file.flush()
        values = (path_of(stem), Path(file.name))
        return helm.render(helm.Rendering(CHART, stem, helm.release_name(stem), values))
