from __future__ import annotations

from dataclasses import replace

import pytest

from chartproof.cluster.scenario import judge
from chartproof.cluster.scenario.definition import SCENARIOS
from chartproof.cluster.scenario.judge import Check
from chartproof.cluster.scenario.timeline import Asked, Decision, Mark, Sample
from tests.cluster.scenario.hand_made import DECISIONS, MARKS, REQUESTS, SAMPLES, sample, timeline


def test_a_good_burst_passes_every_check() -> None:
    found = timeline()
    assert [problem for check in SCENARIOS["burst"].checks for problem in check(found)] == []


@pytest.mark.parametrize(
    "check",
    [
        judge.reached_peak,
        judge.grew_at_once,
        judge.woke,
        judge.slept,
        judge.shrank,
        judge.rested,
        judge.replaced("burst"),
        judge.opened,
        judge.at_least(1, "burst"),
    ],
)
def test_an_empty_recording_proves_nothing(check: Check) -> None:
    assert check(timeline(samples=(), decisions=(), requests=(), marks=()))


def test_lost_requests_are_counted_by_what_became_of_them() -> None:
    lost = (Asked(70.0, "burst", "503", None, 71.0), Asked(71.0, "burst", "503"), Asked(72.0, "burst", "truncated"))
    (problem,) = judge.nothing_lost(timeline(requests=(*REQUESTS, *lost)))
    assert "3 of 53 requests were lost: 2 503, 1 truncated" in problem
    assert "70 s (burst)" in problem


def test_too_few_requests_are_no_proof() -> None:
    assert judge.at_least(50, "burst")(timeline()) == []
    assert judge.at_least(51, "burst")(timeline())
    assert judge.at_least(1, "drain")(timeline())


@pytest.mark.parametrize(("replicas", "wrong"), [(4, False), (5, True)])
def test_more_replicas_than_the_maximum_are_noticed(replicas: int, wrong: bool) -> None:
    samples = (*SAMPLES[:5], sample(510.0, replicas, 4), *SAMPLES[5:])
    assert bool(judge.within_bounds(timeline(samples=samples))) is wrong


def test_fewer_replicas_than_the_minimum_are_noticed_but_not_right_after_the_installation() -> None:
    assert judge.within_bounds(timeline(setting={"minimum": 1})) == [
        "0 replicas at 60 s are outside of 1 to 4",
    ]
    assert judge.within_bounds(timeline(setting={"minimum": 1}, samples=SAMPLES[:1])) == []


@pytest.mark.parametrize(
    ("metric", "after", "problems"),
    [
        (21.0, 2, 0),  # within the tolerance of two replicas
        (22.0, 2, 0),
        (22.1, 2, 1),
        (95.0, 2, 1),
        (0.0, 1, 0),
    ],
)
def test_the_hpa_may_not_take_what_its_metric_asks_for(metric: float, after: int, problems: int) -> None:
    shrunk = replace(DECISIONS[2], metric=metric, after=after)
    decisions = (*DECISIONS[:2], shrunk, DECISIONS[3])
    assert len(judge.never_below_load(timeline(decisions=decisions))) == problems


@pytest.mark.parametrize(
    ("request_", "problems"),
    [
        (Asked(1190.0, "quiet", "served", 1191.0, 1199.0), 0),
        (Asked(1190.0, "quiet", "served", 1191.0, 1201.0), 1),
        (Asked(1190.0, "quiet", "broken off", 1191.0, 1201.0), 1),
        (Asked(1190.0, "quiet", "unanswered"), 1),
        (Asked(1201.0, "quiet", "served", 1500.0, 1501.0), 0),
    ],
)
def test_zero_comes_under_no_request(request_: Asked, problems: int) -> None:
    assert len(judge.never_below_load(timeline(requests=(*REQUESTS, request_)))) == problems


@pytest.mark.parametrize(
    ("after", "metric", "reach", "fine"),
    [
        (4, 95.0, 4, True),  # as far as the maximum
        (3, 95.0, 4, False),  # fell short
        (3, 95.0, 3, True),  # as far as the policies allow
        (2, 12.0, 4, True),  # as far as the metric asks
        (3, None, 4, False),
    ],
)
def test_the_first_growth_goes_as_far_as_it_can(after: int, metric: float | None, reach: int, fine: bool) -> None:
    first = replace(DECISIONS[1], after=after, metric=metric)
    found = timeline(decisions=(DECISIONS[0], first, *DECISIONS[2:]), setting={"reach": reach})
    assert (judge.grew_at_once(found) == []) is fine


def test_only_the_hpa_grows_at_once() -> None:
    assert judge.grew_at_once(timeline(decisions=DECISIONS[:1])) == ["the HPA never added a replica"]


def test_the_peak_must_have_served() -> None:
    assert judge.reached_peak(timeline(samples=SAMPLES[:5])) == [
        "at most 1 replicas served, the load was made for 4",
    ]


def test_what_never_went_to_zero_did_not_sleep() -> None:
    assert judge.slept(timeline(decisions=DECISIONS[:3])) == ["it did not go back to zero"]
    assert judge.slept(timeline(decisions=DECISIONS[:3], setting={"minimum": 1})) == []


@pytest.mark.parametrize(
    "last",
    [
        sample(1210.0, 1, 1),
        sample(1210.0, 0, 0, current=1),
        sample(1210.0, 0, 0, held=1.0),
    ],
)
def test_the_end_is_rest(last: Sample) -> None:
    assert judge.rested(timeline()) == []
    assert judge.rested(timeline(samples=(*SAMPLES[:-1], last)))


@pytest.mark.parametrize(
    ("phase", "problems"),
    [
        ("deed", []),
        ("rest", ["0 replicas served at the beginning of rest", "0 replicas served at the end of rest"]),
        ("quiet", ["0 replicas served at the end of quiet"]),
        ("never", ["never was not recorded"]),
    ],
)
def test_a_deed_must_find_and_leave_two_replicas(phase: str, problems: list[str]) -> None:
    marks = (*MARKS, Mark(550.0, "deed", is_phase=True))
    samples = (*SAMPLES[:6], replace(sample(590.0, 4, 3), phase="deed"), *SAMPLES[6:])
    found = judge.replaced(phase)(timeline(marks=marks, samples=samples))
    assert [each.partition(",")[0] for each in found] == problems


def test_office_hours_bring_and_take_replicas_without_requests() -> None:
    came = Decision(80.0, "open", "keda", 0, 1)
    went = Decision(900.0, "quiet", "keda", 1, 0)
    assert judge.opened(timeline(decisions=(came, went))) == []
    assert judge.opened(timeline(decisions=(came,)))
    assert judge.opened(timeline(decisions=(went,)))
    assert judge.opened(timeline(decisions=(replace(came, phase="burst"), went)))  # a request may have done that


def test_what_the_own_hours_of_a_release_did_before_it_rested_proves_nothing() -> None:
    before = tuple(replace(each, phase=judge.REST) for each in DECISIONS)
    hours = (Decision(5.0, judge.REST, "keda", 0, 1), Decision(50.0, judge.REST, "keda", 1, 0))
    for each in (before, hours):
        found = timeline(decisions=each)
        assert judge.woke(found) == ["no replica was started from zero"]
        assert judge.slept(found) == ["it did not go back to zero"]
        assert judge.opened(found) == ["the office hours started no replica"]
        assert judge.grew_at_once(found) == ["the HPA never added a replica"]


def test_reactions_count_from_the_first_request_of_the_phase() -> None:
    woken, grown = judge.reactions(timeline())
    assert (woken.signal, woken.to_decide, woken.to_ready) == (60.0, 15.0, 205.0)
    assert (grown.signal, grown.to_decide, grown.to_ready) == (60.0, 240.0, 200.0)
    unfinished = judge.reactions(timeline(samples=SAMPLES[:5]))
    assert unfinished[1].to_ready is None
