from __future__ import annotations

import ast
from pathlib import Path

from tests.cluster.faults import table

KINDS = ("faults", "groups", "roles")


def test_every_fault_has_a_test_of_its_own() -> None:
    sources = [(Path(__file__).parent / f"test_{each}.py").read_text(encoding="utf-8") for each in KINDS]
    tests = {
        each.name.removeprefix("test_").replace("_", "-"): ast.unparse(each)
        for source in sources
        for each in ast.parse(source).body
        if isinstance(each, ast.FunctionDef) and each.name.startswith("test_")
    }
    assert table.BY_NAME.keys() <= tests.keys()
    for name in table.BY_NAME:
        assert f"inject('{name}')" in tests[name]


def test_page_has_the_table_of_now() -> None:
    text = table.PAGE.read_text(encoding="utf-8")
    assert table.page(text) == text, "run: python -m tests.cluster.faults.table"


def test_every_alert_of_the_table_has_a_runbook() -> None:
    named = {alert for each in table.FAULTS for alert in (*each.alerts, *each.may_fire, table.DEAD_MAN)}
    pages = {each.stem for each in (table.PAGE.parent / "runbooks").glob("*.md")}
    assert named <= pages


def test_a_fault_that_no_alert_can_tell_of_names_none() -> None:
    assert not [each for each in table.FAULTS if each.silent and each.alerts]
