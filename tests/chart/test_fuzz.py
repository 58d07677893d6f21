"""Values drawn from the schema: each document renders and validates, or is refused with a rule's id."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chartproof.helm import Rendering, render_all
from chartproof.release import Release
from chartproof.schema import check_schemas
from tests import presets
from tests.chart.conftest import merged
from tests.chart.schema_strategies import values_of

DOCUMENTS = 500
SCHEMA: dict[str, Any] = json.loads((presets.CHART / "values.schema.json").read_text())
#: How a render error begins when a value breaks the schema, e.g. a combination that an `if` of it refuses.
SCHEMA_REFUSAL = "these values do not fit the chart's schema"
ID = re.compile(r"\[LLM\d{3}\]")

Path_ = tuple[str, ...]


def _leaves(schema: Mapping[str, Any], path: Path_ = ()) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """Every key of the values that is not an object with keys of its own, with its schema."""
    properties = schema.get("properties")
    if not properties:
        if path:
            yield path, dict(schema)
        return
    for key, below in properties.items():
        yield from _leaves(below, (*path, key))


LEAVES = dict(_leaves(SCHEMA))
#: Keys whose values matter to most others; drawn more often than by their number.
CENTRAL = [
    path
    for path in LEAVES
    if path[0] in {"weights", "autoscaling", "model"} or path[:2] in {("engine", "rollout"), ("nodes", "tiers")}
]
BASES = [*presets.STEMS, None]


def _nested(path: Path_, value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return value  # type: ignore[no-any-return]


@st.composite
def values_documents(draw: st.DrawFn) -> dict[str, Any]:
    """A preset, or the defaults, with up to a dozen keys drawn anew from the schema."""
    base = draw(st.sampled_from(BASES))
    below = yaml.safe_load(presets.path_of(base).read_text()) if base else {}
    paths = draw(st.lists(st.sampled_from(CENTRAL) | st.sampled_from(list(LEAVES)), max_size=12, unique=True))
    drawn = [_nested(path, draw(values_of(LEAVES[path], SCHEMA))) for path in paths]
    return merged(below, *drawn)


@pytest.mark.slow
@settings(
    max_examples=DOCUMENTS,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=list(HealthCheck),
)
@given(values=values_documents())
def test_drawn_values_render_and_validate_or_are_refused_by_rule(values: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "values.yaml"
        file.write_text(json.dumps(values, ensure_ascii=False))  # JSON is YAML, and keeps strings strings
        (made,) = render_all([Rendering(presets.CHART, "fuzz", "fuzz", (file,))])
    if isinstance(made, Release):
        findings = check_schemas([made])["fuzz"] if made.documents else []
        assert not findings, findings
    else:
        refused = ID.search(made.what) or SCHEMA_REFUSAL in str(made)
        assert refused, f"refused without a rule's id: {made}"


def test_the_schema_has_leaves_of_every_part_of_the_values() -> None:
    parts = {path[0] for path in LEAVES}
    assert parts >= {"model", "engine", "weights", "autoscaling", "nodes", "observability", "security"}
