"""The examples of docs/autoscaling.md, nodes.md and multi-node.md are values that the chart takes, its formulas too."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import yaml

from tests.chart.conftest import Refusals, Render, Values, merged
from tests.chart.test_autoscaling import (
    ASLEEP,
    FIRST_TOKEN,
    KV_CACHE,
    OFFICE_HOURS,
    SCALED,
    TOKENS,
    formula,
    scaled_object,
)
from tests.chart.test_nodes import POOLS
from tests.presets import ROOT


def examples(page: str) -> Iterator[Values]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield yaml.safe_load(block)


@pytest.mark.parametrize("values", list(examples("autoscaling.md")))
def test_example_of_autoscaling_is_taken(refusals: Refusals, values: Values) -> None:
    assert refusals(SCALED, values) == []


@pytest.mark.parametrize("values", list(examples("nodes.md")))
def test_example_of_nodes_is_taken(refusals: Refusals, values: Values) -> None:
    assert refusals(POOLS, values) == []


@pytest.mark.parametrize("values", list(examples("multi-node.md")))
def test_example_of_groups_is_taken(refusals: Refusals, values: Values) -> None:
    groups = {
        "model": {"id": "deepseek-ai/DeepSeek-V3.2", "precision": "fp8"},
        "multiNode": {"enabled": True},
        "nodes": {"instanceTypes": ["p5.48xlarge"]},
    }
    assert refusals(groups, values) == []


def test_terms_of_the_page_are_those_of_the_chart(render: Render) -> None:
    page = (ROOT / "docs" / "autoscaling.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\| [^|]+ \| `[^|]+ \| `([^`]+)`", page, re.MULTILINE)
    assert len(terms) == 6
    everything = formula(scaled_object(render, merged(TOKENS, KV_CACHE, FIRST_TOKEN, OFFICE_HOURS, ASLEEP)))
    assert everything == f"max({', '.join(terms)})"
