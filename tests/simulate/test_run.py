from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartproof.errors import InputError
from chartproof.simulate import report
from chartproof.simulate.baselines import BASELINES, Case, dominates, run_release
from chartproof.simulate.demand import Need, ahead, needs, percentile, replica_rate
from chartproof.simulate.measure import Distribution, Objective
from chartproof.simulate.run import Options, Result, Subject, demand, subject_of
from chartproof.simulate.traffic import Rate, Request, Trace, synthetic
from chartproof.simulate.world import Overflow
from tests import presets
from tests.simulate.conftest import AUTOSCALED, DISAGGREGATED


def case_of(subject: Subject, trace: Trace | str, **options: object) -> Case:
    if isinstance(trace, str):
        trace = synthetic(trace, prompt_tokens=1024, answer_tokens=256)
    return Case(subject, trace, Options(**options), demand(subject, trace))  # type: ignore[arg-type]


def of_requests(*requests: Request) -> Trace:
    return Trace("made", open_requests=lambda: iter(requests))


def test_every_request_is_finished_or_lost_for_a_reason(serverless: Subject) -> None:
    result = run_release(case_of(serverless, "burst,hours=2,rate=1"))
    assert result.finished + result.lost_requests == result.requests
    assert result.requests == pytest.approx(7200, rel=0.05)


def test_replicas_stay_between_the_rendered_bounds(serverless: Subject) -> None:
    result = run_release(case_of(serverless, "constant,hours=0.15,rate=40"))
    assert result.most_replicas == 8
    assert all(0 <= each.replicas <= 8 for each in result.samples)


def test_a_flood_is_answered_by_nine_times_as_many_replicas_in_one_pass() -> None:
    subject = subject_of(presets.render("llama-3.1-8b-awq-g6"))
    result = run_release(case_of(subject, "constant,hours=0.05,rate=60", initial_replicas=1))
    first = next(each for each in result.ticks if each.replicas != each.current)
    assert (first.current, first.replicas) == (1, 10)
    assert first.controller == "hpa"


def test_idle_traffic_goes_to_zero_after_the_cooldown_and_refuses_the_next(serverless: Subject) -> None:
    trace = of_requests(Request(0, 100, 10), Request(4000, 100, 10), Request(4300, 100, 10), Request(4400, 100, 10))
    result = run_release(case_of(serverless, trace, initial_replicas=1))
    assert result.lost == {"no replica was ready": 1}
    reasons = [(each.replicas, each.reason) for each in result.ticks if each.replicas != each.current]
    assert reasons[0] == (0, "inactive for the cooldown")
    assert (1, "active: woken") in reasons
    assert result.seconds_at_zero > 3000
    assert result.cold_starts == 1


def test_a_front_door_that_holds_loses_nothing_while_the_model_wakes(serverless: Subject) -> None:
    trace = of_requests(Request(0, 100, 10), *(Request(4000 + i, 100, 10) for i in range(5)), Request(4300, 100, 10))
    held = run_release(case_of(serverless, trace, initial_replicas=1, hold_seconds=900))
    assert held.lost == {}
    assert held.ttft[-1] > 100
    briefly = run_release(case_of(serverless, trace, initial_replicas=1, hold_seconds=10))
    assert briefly.lost == {"held too long at the front door": 5}


def test_a_trace_without_a_request_costs_what_idling_costs(serverless: Subject) -> None:
    trace = Trace("quiet", open_rates=lambda: iter([Rate(0, 3600, 0.0, 10, 10)]))
    result = run_release(case_of(serverless, trace))
    assert (result.requests, result.gpu_hours, result.usd, result.attainment) == (0, 0, 0, 100)


def test_groups_of_nodes_scale_and_are_paid_for_whole() -> None:
    subject = subject_of(presets.render("deepseek-v3.2-p5-groups"))
    result = run_release(case_of(subject, "constant,hours=0.5,rate=8", initial_replicas=1))
    assert result.most_replicas == 2
    assert max(each.gpus for each in result.samples) == 32
    assert result.usd == pytest.approx(result.gpu_hours * 55.04 / 8)
    # Two nodes from the start, four once the second group was asked for.
    assert 16 < result.gpu_hours / 0.5 < 32


def test_a_group_wakes_from_zero() -> None:
    subject = subject_of(presets.render("kimi-k2.5-p5-groups"))
    trace = of_requests(Request(0, 100, 10), Request(300, 100, 10), Request(2000, 100, 10))
    result = run_release(case_of(subject, trace, initial_replicas=0))
    assert (result.cold_starts, result.most_replicas) == (1, 1)
    # Until the group is up, nobody answers.
    assert (result.finished, result.lost) == (1, {"no replica was ready": 2})


def test_a_lost_node_of_a_group_ends_the_whole_group() -> None:
    subject = subject_of(presets.render("deepseek-v3.2-p5-groups"))
    spot = dataclasses.replace(
        subject, pools=tuple(dataclasses.replace(each, spot=True, gpu_limit=64) for each in subject.pools)
    )
    result = run_release(case_of(spot, "constant,hours=6,rate=0.05", spot_losses_per_hour=0.5))
    assert result.spot_losses
    assert result.cold_starts >= 1


def test_office_hours_wake_without_a_request() -> None:
    subject = subject_of(presets.render("qwen2.5-7b-g5"))
    # The trace starts on Monday at midnight UTC; the window opens at 08:00 in Berlin, which is 07:00.
    trace = of_requests(Request(0, 10, 10), Request(9 * 3600, 10, 10))
    result = run_release(case_of(subject, trace, initial_replicas=0))
    woken = next(each for each in result.ticks if each.reason == "active: woken")
    assert 7 * 3600 <= woken.time <= 7 * 3600 + 15
    assert result.lost == {"no replica was ready": 1}


@pytest.mark.slow
def test_lost_spot_nodes_are_replaced(serverless: Subject) -> None:
    result = run_release(case_of(serverless, "constant,hours=3,rate=4", spot_losses_per_hour=1.0))
    calm = run_release(case_of(serverless, "constant,hours=3,rate=4"))
    assert result.spot_losses > 0
    assert result.cold_starts > calm.cold_starts
    assert result.samples[-1].ready > 0


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(serverless: Subject) -> None:
    def written(seed: int) -> str:
        case = case_of(serverless, dataclasses.replace(_short(), seed=seed), seed=seed)
        results = [run_release(case), BASELINES["knative-kpa"](case)]
        return json.dumps(report.describe(serverless, case.trace, case.options, results))

    assert written(1) == written(1)
    assert written(1) != written(2)


def _short() -> Trace:
    return synthetic("constant,hours=0.2,rate=3", prompt_tokens=500, answer_tokens=100)


#: Nine runs that several tests look at: not to be made by every worker.
one_worker = pytest.mark.xdist_group("baselines")


@pytest.fixture(scope="module")
def compared(serverless: Subject) -> dict[str, Result]:
    case = case_of(serverless, "burst,hours=1,rate=3", objectives=(Objective("ttft", 95, 2.0),))
    return {"ours": run_release(case), **{name: run(case) for name, run in BASELINES.items()}}


@one_worker
@pytest.mark.slow
def test_every_baseline_serves_the_same_requests(compared: dict[str, Result]) -> None:
    assert {each.requests for each in compared.values()} == {compared["ours"].requests}
    assert all(each.finished + each.lost_requests == each.requests for each in compared.values())


@one_worker
def test_static_replicas_neither_start_nor_stop(compared: dict[str, Result]) -> None:
    for name in ("static-peak", "static-p99"):
        result = compared[name]
        assert result.cold_starts == 0
        assert len({each.replicas for each in result.samples}) == 1
        assert result.gpu_hours == pytest.approx(result.most_replicas * result.seconds / 3600)


@one_worker
def test_the_oracle_serves_well_and_needs_no_more_than_the_static_peak(compared: dict[str, Result]) -> None:
    oracle = compared["oracle"]
    assert oracle.attainment > 98
    assert oracle.gpu_hours <= compared["static-peak"].gpu_hours


@one_worker
def test_a_waiting_trigger_scales_after_saturation_only(compared: dict[str, Result]) -> None:
    assert compared["keda-waiting-5"].attainment < compared["oracle"].attainment


@one_worker
def test_utilisation_says_busy_long_before_a_replica_is_full(compared: dict[str, Result]) -> None:
    assert compared["hpa-gpu-utilization"].gpu_hours > compared["oracle"].gpu_hours


@one_worker
def test_two_requests_per_replica_are_too_few(compared: dict[str, Result]) -> None:
    assert compared["ray-serve"].most_replicas == 8


@one_worker
def test_domination_needs_both_less_cost_and_more_attainment(compared: dict[str, Result]) -> None:
    oracle, ray = compared["oracle"], compared["ray-serve"]
    assert not dominates(oracle, oracle)
    assert not dominates(ray, oracle)


def test_a_need_is_the_rate_over_what_a_replica_finishes(serverless: Subject) -> None:
    model = serverless.model
    rate = replica_rate(model, 1024, 256)
    found = needs([Rate(0, 60, 3.5 * rate, 1024, 256), Rate(60, 60, 0, 1024, 256)], model)
    assert [round(each.replicas, 6) for each in found] == [3.5, 0]
    assert [each.whole for each in found] == [4, 0]
    assert percentile(found, 100) == 4


def test_a_replica_at_its_target_keeps_up(serverless: Subject) -> None:
    rate = replica_rate(serverless.model, 1024, 256)
    case = case_of(serverless, f"constant,hours=0.5,rate={rate}", initial_replicas=1)
    assert BASELINES["static-peak"](case).attainment > 95


def test_the_oracle_asks_one_lead_ahead_and_lets_go_at_once() -> None:
    found = [Need(60.0 * i, 60, replicas, 0) for i, replicas in enumerate([1, 1, 1, 1, 5, 1, 1, 1])]
    assert ahead(found, 120) == [(0.0, 1), (60.0, 5), (300.0, 1)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=300), st.sampled_from([50.0, 90.0, 99.0]))
def test_percentiles_are_right_to_half_a_percent(values: list[float], percent: float) -> None:
    distribution = Distribution()
    for each in values:
        distribution.add(each)
    ordered = sorted(values)
    exact = ordered[max(0, -(-len(ordered) * int(percent) // 100) - 1)]
    assert distribution.percentile(percent) == pytest.approx(exact, rel=0.011)


def test_a_release_without_an_autoscaled_engine_is_refused() -> None:
    with pytest.raises(InputError, match="no engine with a known model under a ScaledObject"):
        subject_of(presets.render("platform-eks"))


def test_a_role_of_disaggregated_serving_is_refused() -> None:
    with pytest.raises(InputError, match="prompts or answers only"):
        subject_of(presets.render(DISAGGREGATED))


@pytest.mark.parametrize("stem", AUTOSCALED)
def test_every_preset_is_simulated(stem: str) -> None:
    subject = subject_of(presets.render(stem))
    result = run_release(case_of(subject, "constant,hours=0.5,rate=0.2"))
    assert result.finished > 0
    assert result.gpu_hours > 0


def test_an_unknown_metric_is_refused_by_name(serverless: Subject) -> None:
    trigger = serverless.autoscaler.triggers[0]
    odd = dataclasses.replace(trigger, metadata={**trigger.metadata, "query": "sum(vllm:lora_requests_info)"})
    scaler = dataclasses.replace(serverless.autoscaler, triggers=(odd, *serverless.autoscaler.triggers[1:]))
    with pytest.raises(InputError, match="vllm:lora_requests_info is not simulated"):
        run_release(case_of(dataclasses.replace(serverless, autoscaler=scaler), "constant,hours=0.1"))


def test_the_command_prints_a_summary_and_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    from chartproof import cli  # noqa: PLC0415

    words = ["simulate", str(presets.path_of("llama-3.1-8b-g6e-serverless")), "--trace", "synthetic:burst,hours=1"]
    assert cli.main([*words, "--slo", "ttft_p95=2s,e2e_p99=60s", "--against", "static-peak,oracle"]) == 0
    shown = capsys.readouterr().out
    assert "objective    ttft_p95=2s:" in shown
    assert "objective    e2e_p99=60s:" in shown
    assert "static-peak" in shown
    assert "▁" in shown
    assert cli.main([*words, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runs"][0]["requests"] > 3000


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--slo", "fast"], "'fast' is no objective"),
        (["--against", "magic"], "there is no baseline 'magic'"),
        (["--trace", "synthetic:sawtooth"], "there is no synthetic trace 'sawtooth'"),
    ],
)
def test_wrong_words_are_refused(extra: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from chartproof import cli  # noqa: PLC0415

    preset = str(presets.path_of("llama-3.1-8b-g6e-serverless"))
    assert cli.main(["simulate", preset, "--trace", "synthetic:burst,hours=1", *extra]) == 2
    assert message in capsys.readouterr().err


def test_a_broken_trace_is_refused_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from chartproof import cli  # noqa: PLC0415

    trace = tmp_path / "t.csv"
    trace.write_text("seconds,promptTokens,answerTokens\n1,5,5\n0,5,5\n", encoding="utf-8")
    preset = str(presets.path_of("llama-3.1-8b-g6e-serverless"))
    assert cli.main(["simulate", preset, "--trace", str(trace)]) == 3
    assert "t.csv:3: goes back in time" in capsys.readouterr().err


def test_an_overflow_answers_what_finds_no_replica_and_is_paid_by_the_token(serverless: Subject) -> None:
    trace = of_requests(Request(0, 100, 10), Request(4000, 100, 11), Request(4001, 300, 1))
    api = Overflow(usd_per_million_tokens=2.0, first_token_seconds=1.5, seconds_per_token=0.1)
    result = run_release(case_of(serverless, trace, initial_replicas=1, overflow=api))
    refused = run_release(case_of(serverless, trace, initial_replicas=1))
    assert (result.lost, refused.lost) == ({}, {"no replica was ready": 2})
    assert (result.overflowed, result.finished) == (2, 3)
    assert result.overflow_usd == pytest.approx((111 + 301) * 2e-6)
    assert result.usd == pytest.approx(refused.usd + result.overflow_usd)
    assert result.gpu_hours == refused.gpu_hours
    assert result.ttft[-1] == pytest.approx(1.5, rel=0.02)
    assert result.end_to_end[-1] == pytest.approx(2.5, rel=0.02)


def test_an_overflow_takes_what_full_replicas_would_queue(serverless: Subject) -> None:
    flood = "constant,hours=0.1,rate=30"
    api = Overflow(usd_per_million_tokens=1.0, requests_per_replica=40)
    relieved = run_release(case_of(serverless, flood, initial_replicas=1, overflow=api))
    queued = run_release(case_of(serverless, flood, initial_replicas=1))
    assert relieved.overflowed > 1000
    assert relieved.attainment > 99 > queued.attainment
    assert max(each.running for each in relieved.samples[:3]) <= 41
    only_when_none = run_release(
        case_of(serverless, flood, initial_replicas=1, overflow=dataclasses.replace(api, requests_per_replica=None))
    )
    assert only_when_none.overflowed == 0


def test_the_command_says_what_overflowed(capsys: pytest.CaptureFixture[str]) -> None:
    from chartproof import cli  # noqa: PLC0415

    words = [
        "simulate",
        str(presets.path_of("llama-3.1-8b-g6e-serverless")),
        "--trace",
        "synthetic:burst,hours=1,rate=2",
    ]
    assert cli.main([*words, "--overflow-usd", "0.5", "--overflow-at", "20", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["overflow"]["requestsPerReplica"] == 20
    assert found["runs"][0]["overflowed"] > 0
    assert found["runs"][0]["overflowUsd"] < found["runs"][0]["usd"]
    assert cli.main([*words, "--overflow-at", "20"]) == 2
    assert "give its price with --overflow-usd" in capsys.readouterr().err
