"""The oracle of scaling formulas is KEDA's own code, and answers as the operator would."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from chartproof import toolchain

pytestmark = pytest.mark.slow  # built on first use


def _ask(*questions: dict[str, Any]) -> list[dict[str, Any]]:
    lines = "".join(json.dumps(each) + "\n" for each in questions)
    result = subprocess.run(
        [str(toolchain.resolve("formula"))], input=lines, capture_output=True, text=True, check=True, timeout=60
    )
    return [json.loads(line) for line in result.stdout.splitlines()]


def _one(formula: str, **triggers: float | None) -> dict[str, Any]:
    [answer] = _ask({"formula": formula, "triggers": triggers})
    return answer


def test_a_formula_is_evaluated_and_cut_to_milli_units() -> None:
    assert _one("max(running, waiting * 10)", running=3, waiting=1.25) == {"ok": True, "value": 12.5, "milli": 12500}
    assert _one("a * 10", a=1.2345)["milli"] == 12344  # 12.344999... in binary, and cut rather than rounded


def test_an_unknown_name_does_not_compile() -> None:
    answer = _one("runing + 1", running=3)
    assert (answer["ok"], answer["stage"]) == (False, "compile")
    assert "unknown name runing" in answer["error"]


def test_an_integer_result_fails_when_it_runs_and_not_before() -> None:
    answer = _one("float(running) > 2 ? 5 : 0", running=3)
    assert (answer["ok"], answer["stage"]) == (False, "run")
    assert "non-float" in answer["error"]


def test_division_by_zero_becomes_the_smallest_number() -> None:
    assert _one("running / 0", running=1) == {"ok": True, "milli": -(2**63)}


def test_a_lost_trigger_can_be_replaced_or_leads_to_the_fallback() -> None:
    assert _one("running ?? 7", running=None)["value"] == 7
    assert _one("running ?? waiting", running=None, waiting=None) == {"ok": True, "nil": True}


def test_answers_come_in_the_order_of_the_questions() -> None:
    answers = _ask(*({"formula": f"a + {number}", "triggers": {"a": 0}} for number in range(50)))
    assert [each["value"] for each in answers] == list(range(50))
