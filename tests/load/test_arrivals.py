from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from statistics import mean, pstdev

import pytest

from chartproof.errors import InputError, UsageError
from chartproof.load.arrivals import Piece, drawn, evenly, fitted, of_trace, pieces_of
from chartproof.simulate.traffic import Request, Trace


def gaps(trace: Trace) -> list[float]:
    times = [each.time for each in trace.requests()]
    return [later - earlier for earlier, later in pairwise(times)]


def test_a_burst_is_read_from_rates_and_durations() -> None:
    assert pieces_of("0.2@300, 5@600,0@60") == (Piece(0.2, 300), Piece(5, 600), Piece(0, 60))


@pytest.mark.parametrize(
    "text", ["", "5", "5@", "@5", "x@5", "5@0", "5@-1", "-1@5", "nan@5", "inf@5", "5@inf", "1@2@3"]
)
def test_what_is_no_burst_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        pieces_of(text)


def test_even_requests_keep_their_distance_over_changes_of_the_rate() -> None:
    trace = evenly([Piece(2, 2), Piece(0, 3), Piece(0.5, 4), Piece(4, 1)], prompt_tokens=7.4, answer_tokens=9)
    assert [each.time for each in trace.requests()] == [0, 0.5, 1, 1.5, 5, 7, 9, 9.25, 9.5, 9.75]
    assert {each[1:3] for each in trace.requests()} == {(7, 9)}


def test_a_distance_that_begins_under_one_rate_ends_under_the_next() -> None:
    # After 1.5 requests of the first rate, half a request is left: 0.5 s of the second.
    assert [each.time for each in evenly([Piece(0.5, 3), Piece(1, 2)]).requests()] == [0, 2, 3.5, 4.5]


@pytest.mark.parametrize("per_second", [0.1, 0.3, 3, 7, 1 / 3])
def test_even_requests_are_as_many_as_the_rate_says(per_second: float) -> None:
    assert len(list(evenly([Piece(per_second, 1000)]).requests())) == math.ceil(1000 * per_second)


@pytest.mark.parametrize("variation", [0.5, 1.0, 2.0])
def test_drawn_requests_have_the_rate_and_the_variation(variation: float) -> None:
    found = gaps(drawn([Piece(2, 20_000)], variation=variation, seed=3))
    assert mean(found) == pytest.approx(0.5, rel=0.05)
    assert pstdev(found) / mean(found) == pytest.approx(variation, rel=0.1)


def test_poisson_counts_vary_as_their_mean() -> None:
    counts = [0] * 2000
    for each in drawn([Piece(5, 2000)], seed=5).requests():
        counts[int(each.time)] += 1
    assert mean(counts) == pytest.approx(5, rel=0.05)
    assert pstdev(counts) ** 2 == pytest.approx(5, rel=0.1)


def test_a_burst_has_each_rate_in_its_time_and_the_lengths_in_the_mean() -> None:
    trace = drawn([Piece(0.5, 2000), Piece(10, 1000), Piece(0, 1000), Piece(0.5, 2000)], prompt_tokens=300)
    requests = list(trace.requests())
    counts = [
        sum(start <= each.time < end for each in requests) for start, end in ((0, 2000), (2000, 3000), (3000, 4000))
    ]
    assert counts[:2] == pytest.approx([1000, 10_000], rel=0.1)
    assert counts[2] == 0
    assert mean(each.prompt_tokens for each in requests) == pytest.approx(300, rel=0.05)


def test_the_same_seed_draws_the_same_requests() -> None:
    first, again, other = (list(drawn([Piece(1, 100)], seed=seed).requests()) for seed in (1, 1, 2))
    assert first == again != other


def test_a_trace_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("seconds,promptTokens,answerTokens\n10,5,6\n12.5,7,8\n")
    assert list(of_trace(str(path)).requests()) == [Request(0, 5, 6), Request(2.5, 7, 8)]
    assert len(list(of_trace(str(path), scale=2).requests())) == 4
    with pytest.raises(InputError):
        of_trace(str(tmp_path / "missing.csv"))


def test_a_trace_can_be_made() -> None:
    trace = of_trace("synthetic:constant,hours=1,rate=1", prompt_tokens=10, seed=2)
    assert len(list(trace.requests())) == pytest.approx(3600, rel=0.1)


def test_requests_are_shortened_to_the_context() -> None:
    given = [Request(0, 10, 5), Request(1, 100, 20), Request(2, 3, 500), Request(3, 500, 500)]
    trace = fitted(Trace("some", open_requests=lambda: iter(given)), 64)
    assert list(trace.requests()) == [Request(0, 10, 5), Request(1, 44, 20), Request(2, 1, 63), Request(3, 1, 63)]
