"""Drawings as SVG and PNG, the same bytes for the same data.

matplotlib is imported here only, and only when something is drawn: it is the extra `plot`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from chartproof.errors import InputError

OURS = "#0b6e4f"
OTHERS = "#9aa5b1"
LIMIT = "#d1495b"
TRAFFIC = "#3d5a80"
#: Files differ by what matplotlib writes into them unless these are fixed.
_FIXED: Any = {"svg.hashsalt": "chartproof", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9.0}
_NO_DATE: dict[str, dict[str, Any]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}

Draw = Callable[[Any], Any]
"""Makes a figure, given matplotlib's class of them."""


def write_figures(drawings: Mapping[str, Draw], directory: Path) -> list[Path]:
    """Write each drawing as `<name>.svg` and `<name>.png`. Raises InputError where matplotlib is missing."""
    require_matplotlib()
    import matplotlib as mpl  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    written: list[Path] = []
    with mpl.rc_context(_FIXED):
        for name, draw in drawings.items():
            figure = draw(Figure)
            for ending, metadata in _NO_DATE.items():
                path = directory / f"{name}.{ending}"
                figure.savefig(path, format=ending, metadata=metadata, dpi=120)
                written.append(path)
    return written


def require_matplotlib() -> None:
    """Raise InputError where matplotlib is missing, before work is done that it is needed for."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("plots need matplotlib", how="pip install 'chartproof[plot]'")


def bare(*axes: Any) -> None:
    """Take away the frame's upper and right line."""
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
