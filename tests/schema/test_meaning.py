"""What the schemas accept and refuse is what the API server accepts and refuses; both engines say so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chartproof.schema import Outcome, Verdict

Judge = Callable[[Sequence[dict[str, Any]]], dict[str, list[Verdict]]]


def test_both_engines_accept_what_means_something(changes: dict[str, dict[str, Any]], judge: Judge) -> None:
    accepted = {case: change["body"] for case, change in changes.items() if change["accepted"]}
    for engine, verdicts in judge(list(accepted.values())).items():
        wrong = [case for case, each in zip(accepted, verdicts, strict=True) if each != Verdict(Outcome.VALID)]
        assert wrong == [], engine


def test_both_engines_refuse_what_the_server_would(changes: dict[str, dict[str, Any]], judge: Judge) -> None:
    refused = {case: change["body"] for case, change in changes.items() if not change["accepted"]}
    for engine, verdicts in judge(list(refused.values())).items():
        wrong = [case for case, each in zip(refused, verdicts, strict=True) if each.outcome is not Outcome.INVALID]
        assert wrong == [], engine


@pytest.mark.parametrize("kind", [True, False], ids=["accepted", "refused"])
def test_there_are_changes_of_both_kinds(kind: bool, changes: dict[str, dict[str, Any]]) -> None:
    assert sum(change["accepted"] is kind for change in changes.values()) >= 10
