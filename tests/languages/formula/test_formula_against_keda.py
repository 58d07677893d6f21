"""Our formula checker and evaluator against KEDA's own code and the real expr-lang."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from chartproof import toolchain
from chartproof.languages.formula import FormulaError, UnjudgedError, compile_formula

CORPUS = [
    line
    for line in (Path(__file__).parent / "corpus.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("# ")
] + ["# > 1"]
TRIGGERS = ("running", "waiting", "office_hours", "kv_cache", "a-b")
BUSY = dict(zip(TRIGGERS, (12.0, 3.0, 1.0, 0.75, 9.0), strict=True))
VALUES: Mapping[str, Mapping[str, float | None]] = {
    "idle": dict.fromkeys(TRIGGERS, 0.0),
    "busy": BUSY,
    "odd": dict(zip(TRIGGERS, (2.5, -1.0, 0.0, 100.0, 1.0), strict=True)),
    "named like functions": {**BUSY, "count": 2.0, "max": 7.5, "sum": 4.0},
    "one lost": {**BUSY, "running": None},
    "all lost": dict.fromkeys(TRIGGERS),
}


@pytest.fixture(scope="module")
def oracle() -> Path:
    path = toolchain.find("formula").path
    if path is None:
        pytest.skip("the formula program is not built (make toolchain)")
    return path


def ask(oracle: Path, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines = "\n".join(json.dumps(each) for each in questions) + "\n"
    done = subprocess.run([oracle], input=lines, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def ours(formula: str, triggers: Mapping[str, float | None]) -> dict[str, Any]:
    try:
        compiled = compile_formula(formula, triggers)
    except FormulaError as error:
        return {"ok": False, "stage": "compile", "error": str(error)}
    try:
        result = compiled.run(triggers)
    except FormulaError as error:
        return {"ok": False, "stage": error.stage, "error": str(error)}
    if result.value is None:
        return {"ok": True, "nil": True}
    return {"ok": True, "value": result.value, "milli": result.milli}


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    assert len(set(CORPUS)) == len(CORPUS) >= 200


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_formulas_are_judged_as_keda_judges_them(oracle: Path, values: Mapping[str, float | None]) -> None:
    theirs = ask(oracle, [{"formula": each, "triggers": values} for each in CORPUS])
    differences = []
    judged = 0
    for formula, their in zip(CORPUS, theirs, strict=True):
        try:
            our = ours(formula, values)
        except UnjudgedError:
            continue
        judged += 1
        same = our["ok"] == their["ok"] and our.get("stage") == their.get("stage")
        if same and our["ok"]:
            same = bool(our.get("nil")) == bool(their.get("nil")) and our.get("milli") == their.get("milli")
            if same and "value" in their:
                same = math.isclose(our["value"], their["value"], rel_tol=1e-15)
        if not same:
            differences.append(f"{formula}: ours {our}, KEDA's {their}")
    assert not differences, "\n".join(differences)
    assert judged > 0.9 * len(CORPUS)
