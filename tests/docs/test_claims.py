"""Verdicts on claims follow from figures. That the page is current is tested with the other generated files."""

from __future__ import annotations

import pytest

from chartproof.simulate.run import subject_of
from ci.generate import claims
from ci.generate.claims import FAILS, HOLDS, PARTLY, Claim
from tests import presets


@pytest.mark.parametrize(
    ("value", "also", "expected"),
    [
        (100, None, HOLDS),
        (120, None, HOLDS),
        (121, None, FAILS),
        (121, 119, PARTLY),
        (121, 122, FAILS),
        (80, 10, HOLDS),
    ],
)
def test_a_verdict_follows_from_the_figure_and_from_the_best_case(
    value: float, also: float | None, expected: str
) -> None:
    assert claims.verdict(value, 0, 120, also=also) == expected


def test_a_faster_start_changes_the_verdict() -> None:
    subject = subject_of(presets.render("llama-3.1-8b-g6e-serverless"))
    assert claims._cold_start(subject).verdict == PARTLY
    eager = "{engine: {enforceEager: true}, nodes: {instanceTypes: [g6e.4xlarge]}}"
    fast = subject_of(presets.render("llama-3.1-8b-g6e-serverless", eager))
    assert claims._cold_start(fast).ours != claims._cold_start(subject).ours
    assert claims._streaming(fast).verdict == HOLDS
    slow = subject_of(presets.render("llama-3.1-8b-g6e-serverless", "{nodes: {instanceTypes: [g6e.xlarge]}}"))
    assert claims._streaming(slow).verdict != HOLDS


def test_twenty_requests_at_the_edge_of_the_tolerance() -> None:
    # 10 running and 10 waiting are 110, at a target of 25: 4.4 replicas' worth.
    assert [claims._replicas(value, 25) for value in (20, 27.5, 27.6, 110, 200)] == [1, 1, 2, 5, 8]


def test_a_page_has_a_row_per_claim_and_cells_that_do_not_break_it() -> None:
    page = claims.page([Claim("a | b", "c\nd", "e", HOLDS, "f")])
    assert page.splitlines()[-1] == "| a \\| b | c d | e | **holds**: f |"
