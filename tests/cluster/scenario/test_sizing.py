from __future__ import annotations

from dataclasses import replace

import pytest

from chartproof.cluster.scenario.definition import SCENARIOS, View, chosen
from chartproof.cluster.scenario.sizing import (
    MOST_REAL_RATE,
    MOST_REPLICAS,
    REQUESTS_TO_PROVE,
    Lengths,
    Sizing,
    sizings_of,
)
from chartproof.cluster.scenario.timeline import Sample
from chartproof.cluster.speed import Speed
from chartproof.errors import InputError, UsageError
from chartproof.release import Release
from tests import presets

SERVERLESS = "llama-3.1-8b-g6e-serverless"
WITH_HOURS = "qwen2.5-7b-g5"
TEN = "llama-3.1-8b-awq-g6"
PAIR = "qwen3-32b-g6e-12xlarge"
"""Never fewer than two replicas, and a formula of several signals."""
DISAGGREGATED = "llama-3.3-70b-fp8-g7e-disaggregated"


def sizing(stem: str, speed: float = 15.0) -> Sizing:
    return sizings_of(presets.render(stem), Speed(speed))[0]


def test_ten_replicas_are_one_decision_away() -> None:
    found = sizing(TEN)
    assert (found.minimum, found.maximum, found.reach, found.peak) == (1, 10, 10, 10)


def test_the_peak_is_what_the_release_allows() -> None:
    assert sizing(SERVERLESS).peak == 8
    assert sizing(TEN).peak <= MOST_REPLICAS


@pytest.mark.parametrize("stem", [SERVERLESS, WITH_HOURS, TEN])
@pytest.mark.parametrize("speed", [1.0, 15.0, 60.0])
def test_no_load_is_sent_faster_than_one_client_can(stem: str, speed: float) -> None:
    found = sizing(stem, speed)
    for replicas in (0.3, 1.5, found.peak - 0.5):
        for lengths in (found.short, found.long, found.draining, found.rolling):
            assert 0 < found.speed.simulated(found.rate(replicas, lengths)) <= MOST_REAL_RATE + 1e-9
    assert found.rate(0.0, found.long) == 0.0


@pytest.mark.parametrize("stem", [SERVERLESS, WITH_HOURS, TEN])
def test_a_rate_keeps_as_many_requests_in_flight_as_it_says(stem: str) -> None:
    found = sizing(stem, 1.0)  # at the speed of real time the client's own limit plays no part
    rate = found.rate(1.0, found.long)
    assert rate * found.held_seconds(found.long) == pytest.approx(found.target)


@pytest.mark.parametrize("stem", [SERVERLESS, WITH_HOURS, TEN])
def test_requests_end_while_a_pod_drains(stem: str) -> None:
    found = sizing(stem)
    for lengths in (found.short, found.draining, found.rolling):
        assert found.held_seconds(lengths) <= found.shutdown.drain / 2


@pytest.mark.parametrize("stem", [SERVERLESS, WITH_HOURS, TEN])
def test_enough_requests_come_while_replicas_go_or_are_replaced(stem: str) -> None:
    found = sizing(stem)
    window = found.autoscaler.scale_down_window_seconds
    assert found.rate(0.5, found.draining) * window >= REQUESTS_TO_PROVE
    assert found.rate(1.5, found.rolling) * 2 * found.warm_seconds >= REQUESTS_TO_PROVE


@pytest.mark.parametrize("stem", [SERVERLESS, WITH_HOURS, TEN, PAIR])
def test_a_burst_makes_the_formula_ask_for_the_peak(stem: str) -> None:
    found = sizing(stem)
    count = found.burst(found.peak, found.long)
    room = found.fewest * min(found.model.max_sequences, found.model.kv_tokens // found.long.prompt_tokens)
    assert min(count, room) + 10 * max(0, count - room) >= found.peak * found.target
    assert count <= found.peak * found.target * 1.3 + 1


@pytest.mark.parametrize(("limits", "bound"), [({"queue_limit": 30}, 64 + 30), ({"request_limit": 80}, 80)])
def test_a_bounded_queue_is_not_overrun(limits: dict[str, int], bound: int) -> None:
    free = sizing(TEN)
    models = {name: replace(model, **limits) for name, model in free.subject.models.items()}  # type: ignore[arg-type]
    found = Sizing(replace(free.subject, models=models), free.speed)
    assert found.bound == bound
    assert found.burst(found.peak, found.long) < bound < free.burst(free.peak, free.long) + 15
    assert found.overload(found.short) < free.overload(free.short)


@pytest.mark.parametrize("stem", [SERVERLESS, TEN, PAIR, "deepseek-v3.2-p5-groups", DISAGGREGATED])
def test_an_overload_is_a_little_more_than_the_fewest_replicas_can_do(stem: str) -> None:
    for found in sizings_of(presets.render(stem), Speed(1.0)):
        # One that hands prompts over makes one token of each.
        work = Lengths(found.short.prompt_tokens, 1) if found.part == "prefill" else found.short
        most = found.fewest * found.model.requests_per_second(found.model.capacity(*work), *work)
        assert most < found.overload(found.short) < 1.3 * most


def test_what_cannot_be_measured_is_refused() -> None:
    release = presets.render(TEN)
    bodies = tuple(each for each in release.documents if each.kind != "ScaledObject")
    with pytest.raises(InputError, match="no engine with a known model under a ScaledObject"):
        sizings_of(Release(release.name, bodies, release.namespace), Speed())


def test_every_scenario_is_for_some_preset_and_says_why_not() -> None:
    for name, scenario in SCENARIOS.items():
        reasons = {stem: scenario.excluded(sizing(stem)) for stem in (SERVERLESS, WITH_HOURS, TEN)}
        assert "" in reasons.values(), name
    assert SCENARIOS["scale-from-zero"].excluded(sizing(TEN)) == "its minimum is 1 replicas"
    assert SCENARIOS["office-hours"].excluded(sizing(TEN)) == "no cron is among its triggers"
    assert SCENARIOS["spot-loss"].excluded(sizing(TEN)) == "none of its pools is spot"


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_begins_and_ends_at_rest(name: str) -> None:
    scenario = SCENARIOS[name]
    found = sizing(SERVERLESS)
    first, last = scenario.phases[0], scenario.phases[-1]
    resting = View(Sample(10.0, "", replicas=0, current=0, ready=0), sent=0, unanswered=0)
    for phase in (first, last):
        assert phase.rate(found) == 0
        assert phase.until is not None
        assert phase.until.holds(resting, found)
    assert len({each.name for each in scenario.phases}) == len(scenario.phases)
    assert scenario.checks


def test_scenarios_are_chosen_by_name_in_their_order() -> None:
    assert chosen("drain, burst") == ["burst", "drain"]
    assert chosen("all") == ["life", *SCENARIOS]
    with pytest.raises(UsageError, match="there is no scenario 'brust'"):
        chosen("brust")


def test_what_only_a_gateway_wakes_is_not_played() -> None:
    with pytest.raises(InputError, match=r"is woken by litellm_\w+, litellm_\w+, which nothing counts"):
        sizing("llama-3.1-8b-g6e-gateway")


def roles(speed: float = 15.0) -> tuple[Sizing, Sizing]:
    prefill, decode = sizings_of(presets.render(DISAGGREGATED), Speed(speed))
    return prefill, decode


def test_each_role_of_a_model_is_played_by_itself() -> None:
    prefill, decode = roles()
    assert (prefill.part, decode.part) == ("prefill", "decode")
    assert (prefill.peak, decode.peak) == (prefill.maximum, decode.maximum) == (4, 6)
    assert sizing(TEN).part == ""
    for each in (prefill, decode):
        for name in ("burst", "drain"):
            assert SCENARIOS[name].excluded(each) == ""


def test_the_load_of_a_role_fills_it_and_leaves_the_other_idle() -> None:
    prefill, decode = roles(speed=1.0)  # at the speed of real time the client's own limit plays no part
    for lengths in (prefill.short, prefill.long, prefill.draining):
        # Answers at the same rate are a small part of what one decode replica makes.
        assert prefill.rate(prefill.peak, lengths) * decode.held_seconds(lengths) < decode.target
    for lengths in (decode.short, decode.long):
        assert decode.rate(decode.peak, lengths) < prefill.rate(1.0, lengths)
    # Its prompts come computed.
    both = replace(decode.model, cached_share=0.0)
    assert decode.model.requests_per_second(10, 4000, 100) > 2 * both.requests_per_second(10, 4000, 100)


def test_the_rate_of_prompts_is_a_share_of_what_replicas_compute() -> None:
    prefill, _ = roles(speed=1.0)
    lengths = prefill.long
    each = lengths.prompt_tokens * prefill.model.per_prompt_token
    assert prefill.rate(0.5, lengths) == pytest.approx(0.5 / each, rel=0.05)
    assert prefill.rate(2.0, lengths) == pytest.approx(4 * prefill.rate(0.5, lengths))
