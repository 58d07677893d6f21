from __future__ import annotations

import dataclasses

import pytest

from chartproof import cli
from chartproof.errors import InputError
from chartproof.simulate.baselines import BASELINES, Case, run_release
from chartproof.simulate.engine import EngineModel
from chartproof.simulate.fluid import FluidEngine
from chartproof.simulate.run import Options, Subject, demand, subject_of
from chartproof.simulate.traffic import Rate, Trace, synthetic
from tests import presets

MODEL = EngineModel(
    base=0.02,
    per_sequence=0.0002,
    per_kv_token=1e-7,
    per_prompt_token=1e-4,
    kv_tokens=20_000,
    max_sequences=32,
    step_tokens=2048,
)


def test_the_content_settles_where_as_much_leaves_as_comes() -> None:
    engine = FluidEngine(MODEL, 0.0)
    engine.flow(1.0, 500, 200)
    engine.advance(600)
    assert MODEL.requests_per_second(engine.content, 500, 200) == pytest.approx(1.0, rel=0.01)
    assert engine.queued == 0
    engine.inflow = 0.0
    engine.advance(700)
    assert engine.load == 0


def test_above_its_rate_the_queue_grows_by_the_difference() -> None:
    engine = FluidEngine(MODEL, 0.0)
    capacity = MODEL.capacity(500, 200)
    most = MODEL.requests_per_second(capacity, 500, 200)
    engine.flow(most + 2, 500, 200)
    engine.advance(100)
    before = engine.content
    engine.advance(200)
    assert engine.content - before == pytest.approx(200, rel=0.05)
    assert engine.running == capacity
    assert engine.queued == pytest.approx(engine.content - capacity, abs=1)


def runs(subject: Subject, trace: Trace) -> tuple[float, float]:
    """GPU-hours with and without single requests."""
    found = [
        run_release(Case(subject, trace, Options(without_requests=without), demand(subject, trace)))
        for without in (False, True)
    ]
    return found[0].gpu_hours, found[1].gpu_hours


@pytest.mark.slow
def test_rates_alone_lead_to_nearly_the_same_gpu_hours(serverless: Subject) -> None:
    detailed, fluid = runs(serverless, synthetic("diurnal,hours=14,rate=8", prompt_tokens=1024, answer_tokens=256))
    assert fluid == pytest.approx(detailed, rel=0.25)


def test_what_comes_while_there_is_no_replica_is_lost(serverless: Subject) -> None:
    def rates(per_second: float) -> Trace:
        quiet = Rate(0, 3600, 0.0, 500, 100)
        return Trace("t", open_rates=lambda: iter([quiet, Rate(3600, 3600, per_second, 500, 100)]))

    trace = rates(2.0)
    result = run_release(Case(serverless, trace, Options(without_requests=True), demand(serverless, trace)))
    assert result.requests == 7200
    (lost,) = result.lost.values()
    assert 100 * 2 < lost < 400 * 2, "about one cold start of requests"
    assert result.finished + lost == 7200
    assert result.ttft == ()
    assert result.attained == ()


def test_a_trigger_on_first_tokens_needs_requests() -> None:
    subject = subject_of(presets.render("qwen3-32b-g6e-12xlarge"))
    trace = synthetic("constant,hours=0.2", prompt_tokens=100, answer_tokens=10)
    case = Case(subject, trace, Options(without_requests=True), demand(subject, trace))
    with pytest.raises(InputError, match="no first tokens without requests"):
        run_release(case)
    assert BASELINES["static-peak"](dataclasses.replace(case)).gpu_hours > 0


@pytest.mark.parametrize("extra", [["--against", "oracle"], ["--front-door-hold", "10"]])
def test_what_needs_requests_is_refused_without(extra: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    preset = str(presets.path_of("llama-3.1-8b-g6e-serverless"))
    words = ["simulate", preset, "--trace", "synthetic:diurnal", "--without-requests"]
    assert cli.main([*words, *extra]) == 2
    assert "knows no single request" in capsys.readouterr().err


def test_the_command_follows_rates(capsys: pytest.CaptureFixture[str]) -> None:
    preset = str(presets.path_of("llama-3.1-8b-awq-g6"))
    assert cli.main(["simulate", preset, "--trace", "synthetic:constant,hours=6", "--without-requests"]) == 0
    shown = capsys.readouterr().out
    assert "21600 requests" in shown
    assert "objective" not in shown
