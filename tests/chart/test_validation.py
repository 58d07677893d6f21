"""The chart refuses contradictions: all at once, each with its id, its key and what to write."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof.errors import RenderError
from tests.chart.conftest import Refusals, Render
from tests.presets import CHART

DATA: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "refusals.yaml").read_text(encoding="utf-8"))
CASES: list[dict[str, Any]] = DATA["cases"]
LINE = re.compile(r"^\[LLM\d{3}\] [A-Za-z][\w./-]*: .+; .+$")
FILES = (
    "_model.tpl",
    "engine/_violations.tpl",
    "engine/_features.tpl",
    "weights/_violations.tpl",
    "security/_violations.tpl",
)


def named(case: dict[str, Any]) -> str:
    return f"{case['id']} {case['key']} ({case['says']})"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_contradiction_is_refused_with_its_id_and_key(refusals: Refusals, case: dict[str, Any]) -> None:
    lines = refusals(DATA["base"], case["values"])
    wanted = f"[{case['id']}] {case['key']}: "
    assert any(line.startswith(wanted) and case["says"] in line for line in lines), lines
    for line in lines:
        assert LINE.match(line), f"not `[id] key: what is wrong; what to write`: {line}"
        assert "%!" not in line, line


@pytest.mark.parametrize("case", [each for each in CASES if "fine" in each], ids=named)
def test_the_same_done_right_is_not_refused(refusals: Refusals, case: dict[str, Any]) -> None:
    wanted = f"[{case['id']}] {case['key']}: "
    lines = refusals(DATA["base"], case["fine"])
    assert not [line for line in lines if line.startswith(wanted) and case["says"] in line]


def test_every_refusal_in_the_templates_has_a_case() -> None:
    told = []
    for file in FILES:
        text = (CHART / "templates" / file).read_text(encoding="utf-8")
        told += re.findall(r'"\[(LLM\d{3})\] ([^:"]+): ([^"]+)"', text)
    assert len(told) > 60
    cases = {(each["id"], each["key"]) for each in CASES}
    for rule, key, _ in told:
        pattern = re.compile(re.escape(key).replace("%s", ".+"))
        assert any(rule == each and pattern.fullmatch(at) for each, at in cases), f"no case for [{rule}] {key}"


def test_all_contradictions_are_told_at_once(refusals: Refusals) -> None:
    lines = refusals(
        {"engine": {"drainSeconds": 0, "dtype": "bfloat16"}, "aws": {"identity": "irsa"}},
        {"nodes": {"instanceTypes": ["g4dn.xlarge"]}},
    )
    assert {line[1:7] for line in lines} >= {"LLM702", "LLM134", "LLM017", "LLM135"}


def test_contradictions_are_told_whatever_is_switched_off(refusals: Refusals) -> None:
    lines = refusals({"engine": {"enabled": False}, "nodes": {"create": True, "provider": "existing"}})
    assert any(line.startswith("[LLM016] nodes.provider") for line in lines)


def test_platform_release_is_not_judged_as_a_model(refusals: Refusals) -> None:
    assert not refusals({"engine": {"enabled": False, "drainSeconds": 0}, "model": {"id": "acme/unknown"}})


@pytest.mark.parametrize(
    "values",
    [
        {"engine": {"tensorParalellSize": 2}},
        {"engine": {"replicas": "two"}},
        {"engine": {"probes": {"timeoutSeconds": 1}}},
        {"engine": {"probes": {"livenessFailureThreshold": 1}}},
        {"security": {"runAsUser": 0}},
        {"weights": {"delivery": "ftp"}},
        {"model": {"profile": {"size": 3}}},
        {"weights": {"source": {"s3": {"uri": "https://bucket"}}}},
        {"engine": {"extraEnv": {"NUMBER": 1}}},
        {"unknown": {}},
    ],
)
def test_schema_refuses_what_templates_need_not_look_at(render: Render, values: dict[str, Any]) -> None:
    with pytest.raises(RenderError, match="do not fit the chart's schema"):
        render(DATA["base"], values)
