"""Findings that an annotation accepts."""

from __future__ import annotations

import datetime as dt

import pytest

from chartproof import suppression
from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release

TODAY = dt.date(2026, 6, 15)
FOUND = Finding("LLM101", Severity.WARNING, "open port", "Service/a", "spec.ports[0]", "add a key")
RAN = frozenset({"LLM101", "LLM102", "LLM901", "LLM902", "LLM903"})


def outcome(
    annotation: str, *, rule: str = "LLM101", findings: tuple[Finding, ...] = (FOUND,), ran: frozenset[str] = RAN
) -> suppression.Outcome:
    metadata = {"name": "a", "annotations": {f"chartproof.io/ignore.{rule}": annotation}}
    other = Document({"kind": "Service", "metadata": {"name": "b"}}, index=1)
    release = Release("r", (Document({"kind": "Service", "metadata": metadata}), other))
    return suppression.apply(release, findings, ran, TODAY)


def rules_of(result: suppression.Outcome) -> list[str]:
    return [each.rule for each in result.findings]


@pytest.mark.parametrize(
    "annotation", ["reached through the gateway only", "why; until=2026-06-15", "until=2026-12-31; why"]
)
def test_reason_accepts_the_finding(annotation: str) -> None:
    result = outcome(annotation)
    assert not result.findings
    assert result.suppressed == 1


@pytest.mark.parametrize("annotation", ["", " ", "until=2099-01-01", "; until=2099-01-01"])
def test_without_reason_it_does_not_count_and_is_an_error(annotation: str) -> None:
    result = outcome(annotation)
    assert rules_of(result) == ["LLM101", "LLM903"]
    assert result.findings[1].severity is Severity.ERROR
    assert result.findings[1].path == "metadata.annotations.chartproof.io/ignore.LLM101"


@pytest.mark.parametrize("until", ["2026-06-14", "2025-01-01", "tomorrow", "2026-13-01"])
def test_expired_it_does_not_count_and_is_a_warning(until: str) -> None:
    result = outcome(f"why; until={until}")
    assert rules_of(result) == ["LLM101", "LLM902"]
    assert until in result.findings[1].message


def test_unused_is_a_warning() -> None:
    assert rules_of(outcome("why", rule="LLM102")) == ["LLM101", "LLM901"]
    assert rules_of(outcome("why", findings=())) == ["LLM901"]


def test_unknown_rule_is_a_warning() -> None:
    result = outcome("why", rule="LLM000", findings=())
    assert rules_of(result) == ["LLM901"]
    assert "no such rule" in result.findings[0].message


def test_rule_that_was_not_run_leaves_its_suppression_in_peace() -> None:
    assert not outcome("why", findings=(), ran=RAN - {"LLM101"}).findings


def test_other_objects_keep_their_findings() -> None:
    elsewhere = Finding("LLM101", Severity.WARNING, "open port", "Service/b")
    result = outcome("why", findings=(FOUND, elsewhere))
    assert result.findings == (elsewhere,)


def test_other_rules_of_the_object_are_kept() -> None:
    another = Finding("LLM102", Severity.NOTE, "routes", "Service/a")
    assert outcome("why", findings=(FOUND, another)).findings == (another,)


def test_findings_about_suppressions_can_be_deselected() -> None:
    assert rules_of(outcome("", ran=RAN - {"LLM903"})) == ["LLM101"]
