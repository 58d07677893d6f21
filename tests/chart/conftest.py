"""Rendering of the chart from values, and the refusals it gives."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof import helm
from chartproof.errors import RenderError
from chartproof.release import Release
from tests.presets import CHART

Values = Mapping[str, Any]
Render = Callable[..., Release]
Refusals = Callable[..., list[str]]


def merged(*layers: Values) -> dict[str, Any]:
    """Values laid over each other as Helm does: mappings merge, everything else is replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            both = isinstance(value, Mapping) and isinstance(below, Mapping)
            result[key] = merged(below, value) if both and isinstance(below, Mapping) else value
    return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What renders values of its own runs helm each time: together too slow for the fast part of the gate.

    There every preset is rendered and checked instead.
    """
    for item in items:
        if {"render", "refusals"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """Render the chart with layers of values; keywords go to `helm.Rendering`."""
    numbers = itertools.count()

    def run(*layers: Values, **options: Any) -> Release:
        values = tmp_path / f"values-{next(numbers)}.yaml"
        values.write_text(yaml.safe_dump(merged(*layers)), encoding="utf-8")
        arguments = {"chart": CHART, "label": "test", "name": "llm", **options}
        return helm.render(helm.Rendering(values=(values,), **arguments))

    return run


@pytest.fixture
def refusals(render: Render) -> Refusals:
    """The lines with which the chart refuses values, from the id on; none where it renders."""

    def run(*layers: Values, **options: Any) -> list[str]:
        try:
            render(*layers, **options)
        except RenderError as error:
            lines = re.findall(r"\[LLM\d{3}\] .*", error.what)
            if not lines:
                raise
            return lines
        return []

    return run
