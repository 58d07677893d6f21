from __future__ import annotations

import math

import pytest

from chartproof.languages.formula import (
    Bounds,
    FormulaError,
    UnjudgedError,
    additive_terms,
    bounds,
    compile_formula,
    divisions_by_zero,
    names,
    parse,
)


def test_office_hours_floor_is_one_replica_worth() -> None:
    formula = compile_formula("max(running + waiting * 10, office_hours * 25)", ["running", "waiting", "office_hours"])
    assert formula.run({"running": 3, "waiting": 0, "office_hours": 1}).milli == 25_000


def test_a_hyphenated_trigger_reads_as_a_subtraction() -> None:
    with pytest.raises(FormulaError, match="unknown name office"):
        compile_formula("office-hours * 25", ["office-hours"])


def test_division_by_zero_becomes_the_least_integer() -> None:
    result = compile_formula("running / waiting", ["running", "waiting"]).run({"running": 0.0, "waiting": 0.0})
    assert (result.is_number, result.milli) == (False, -(2**63))


def test_an_integer_result_fails_only_at_run_time() -> None:
    formula = compile_formula("float(running) > 2 ? 5 : 0", ["running"])
    with pytest.raises(FormulaError, match="non-float") as caught:
        formula.run({"running": 3.0})
    assert caught.value.stage == "run"


@pytest.mark.parametrize(
    ("formula", "read"),
    [
        ("max(running, waiting)", {"running", "waiting"}),
        ("let t = running; t * t", {"running"}),
        ("let running2 = running; running2", {"running"}),
        ('$env["a-b"] + $env.c', {"a-b", "c"}),
        ("count([a, b], # > c)", {"a", "b", "c"}),
    ],
)
def test_names_are_those_read_from_triggers(formula: str, read: set[str]) -> None:
    assert names(parse(formula)) == read


@pytest.mark.parametrize(
    "formula",
    [
        "a / b",
        "a / (b + c)",
        "b >= 0 ? a / b : 0",
        "b > 0 ? 0 : a / b",
        "a / max(b, 0)",
        "a / floor(b + 0.5)",
        "a / abs(b - 3)",
        "let d = b; a / d",
        "max(a / b, 0)",
        "int(a) % int(b)",
        "b > 0 || c > 0 ? a / b : 0",
    ],
)
def test_divisions_that_can_meet_zero_are_found(formula: str) -> None:
    assert list(divisions_by_zero(parse(formula)))


@pytest.mark.parametrize(
    "formula",
    [
        "a / 2",
        "a / (b + 1)",
        "a / max(b, 1)",
        "b > 0 ? a / b : 0",
        "b == 0 ? 0 : a / b",
        "b != 0 ? a / b : 0",
        "0 < b ? a / b : 0",
        "not (b <= 0) ? a / b : 0",
        "b > 0 && c > 0 ? a / (b * c) : 0",
        "b == 0 || c == 0 ? 0 : a / b / c",
        "if b > 0 { a / b } else { 0 }",
        "let d = max(b, 1); a / d",
        "int(a) % 2",
    ],
)
def test_guarded_divisions_are_left_alone(formula: str) -> None:
    assert not list(divisions_by_zero(parse(formula)))


def test_known_trigger_bounds_guard_a_division() -> None:
    assert not list(divisions_by_zero(parse("a / b"), {"b": Bounds(1, math.inf)}))


@pytest.mark.parametrize(
    ("formula", "low"),
    [
        ("a + b * 10", 0),
        ("max(0, a - 5)", 0),
        ("a > 5 ? a - 5 : 0", 0),
        ("max(a, b) - 5", -5),
        ("ceil(a) + 1", 1),
        ("a - b", -math.inf),
    ],
)
def test_lower_bounds(formula: str, low: float) -> None:
    assert bounds(parse(formula)).low == pytest.approx(low)


def test_terms_of_a_sum() -> None:
    terms = additive_terms(parse("running + waiting * 10 + office_hours * 25"))
    assert [names(each) for each in terms] == [{"running"}, {"waiting"}, {"office_hours"}]


def test_a_formula_of_absurd_depth_is_left_unjudged() -> None:

    with pytest.raises(UnjudgedError):
        parse("(" * 2000 + "1" + ")" * 2000)
