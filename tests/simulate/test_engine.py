from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chartproof.simulate.engine import Engine, EngineModel, Job

MODEL = EngineModel(
    base=0.02,
    per_sequence=0.0002,
    per_kv_token=1e-7,
    per_prompt_token=1e-4,
    kv_tokens=20_000,
    max_sequences=32,
    step_tokens=2048,
)


def test_one_request_takes_its_prompt_and_one_step_per_further_token() -> None:
    engine = Engine(MODEL, 0.0)
    job = Job(0.0, 1000, 11)
    assert engine.submit(job)
    engine.advance(10)
    assert job.first_token == pytest.approx(0.1 + 1000 * 1e-7)
    steps = sum(MODEL.step_seconds(1, 1001 + i) for i in range(10))
    assert job.finish == pytest.approx(job.first_token + steps)
    assert engine.kv_tokens == 0
    assert (engine.prompt_tokens_total, engine.answer_tokens_total) == (1000, 11)


def test_a_long_prompt_is_computed_in_parts() -> None:
    engine = Engine(MODEL, 0.0)
    job = Job(0.0, 5000, 1)
    engine.submit(job)
    engine.advance(0.3)
    assert math.isnan(job.first_token)
    engine.advance(0.6)
    # Three parts: 2048, 2048, and 904 tokens.
    assert job.first_token == pytest.approx(0.5 + 3 * 5000 * 1e-7)


def test_an_arrival_waits_for_the_step_that_runs() -> None:
    engine = Engine(MODEL, 0.0)
    engine.submit(Job(0.0, 100, 500))
    engine.advance(1.0)
    assert 1.0 <= engine.time < 1.0 + 0.03


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_spans_equal_single_steps(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    arrivals = sorted(draw.uniform(0, 60) for _ in range(draw.randint(1, 120)))
    sizes = [(draw.randint(1, 3000), draw.randint(1, 400)) for _ in arrivals]

    def simulate(tick: float) -> list[tuple[float, float]]:
        engine = Engine(MODEL, 0.0)
        jobs = []
        now = 0.0
        for time, (prompt, answer) in zip(arrivals, sizes, strict=True):
            while tick and now + tick < time:
                now += tick
                engine.advance(now)
            engine.advance(time)
            jobs.append(Job(time, prompt, answer))
            engine.submit(jobs[-1])
        while engine.load:
            now = max(now, engine.time) + (tick or 1000)
            engine.advance(now)
        assert engine.kv_tokens == 0
        return [(each.first_token, each.finish) for each in jobs]

    assert simulate(0.005) == [pytest.approx(each) for each in simulate(0)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_nothing_is_lost_made_up_or_held_beyond_capacity(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    engine = Engine(MODEL, 0.0)
    jobs = []
    time = 0.0
    for _ in range(200):
        time += draw.expovariate(5)
        engine.advance(time)
        assert engine.kv_tokens <= MODEL.kv_tokens
        assert engine.running <= MODEL.max_sequences
        job = Job(time, draw.randint(1, 4000), draw.randint(1, 600))
        if engine.submit(job):
            jobs.append(job)
    engine.advance(time + 100_000)
    assert len(engine.finished) == len(jobs)
    assert all(each.arrival <= each.first_token <= each.finish for each in jobs)
    assert engine.answer_tokens_total == sum(each.answer_tokens for each in jobs) or engine.preemptions_total
    assert engine.kv_tokens == 0


def test_prompts_that_the_step_has_no_tokens_for_are_waiting() -> None:
    engine = Engine(MODEL, 0.0)
    for _ in range(5):
        engine.submit(Job(0.0, 1500, 10))
    engine.advance(0.01)
    # One whole prompt and a part of the second fill the step of 2048 tokens.
    assert (engine.running, engine.queued) == (2, 3)
    engine.advance(5.0)
    assert engine.queued == 0
    assert len(engine.finished) == 5


def test_aborted_prompts_take_no_tokens_of_the_next_step() -> None:
    engine = Engine(MODEL, 0.0)
    engine.submit(Job(0.0, 9000, 10))
    engine.advance(0.01)
    engine.abort()
    engine.submit(Job(0.3, 100, 1))
    engine.advance(0.4)
    assert len(engine.finished) == 1


def test_a_full_cache_puts_the_youngest_back_and_still_serves_it() -> None:
    engine = Engine(MODEL, 0.0)
    jobs = [Job(0.0, 900, 2000) for _ in range(20)]
    for each in jobs:
        engine.submit(each)
    engine.advance(10_000)
    assert engine.preemptions_total > 0
    assert len(engine.finished) == 20
    assert jobs[0].finish < jobs[-1].finish


def test_what_can_never_fit_is_refused() -> None:
    assert not Engine(MODEL, 0.0).submit(Job(0.0, 19_000, 2000))


def test_a_full_queue_refuses() -> None:
    engine = Engine(dataclasses.replace(MODEL, max_sequences=1, queue_limit=1), 0.0)
    engine.submit(Job(0.0, 100, 1000))
    engine.advance(1.0)
    assert engine.submit(Job(1.0, 100, 10))
    assert not engine.submit(Job(1.0, 100, 10))


def test_a_bound_of_requests_counts_those_that_run() -> None:
    engine = Engine(dataclasses.replace(MODEL, request_limit=2), 0.0)
    assert engine.submit(Job(0.0, 100, 1000))
    engine.advance(1.0)
    assert engine.running == 1
    assert engine.submit(Job(1.0, 100, 10))
    assert not engine.submit(Job(1.0, 100, 10))


def test_aborted_requests_free_what_they_held() -> None:
    engine = Engine(MODEL, 0.0)
    for _ in range(40):
        engine.submit(Job(0.0, 400, 1000))
    engine.advance(1.0)
    assert len(engine.abort()) == 40
    assert engine.load == 0
    assert engine.kv_tokens == 0
    engine.advance(5.0)
    assert engine.finished == []


def test_a_closed_loop_at_full_batch_finishes_what_the_formula_says() -> None:
    engine = Engine(MODEL, 0.0)
    time, taken, batch = 0.0, 0, 12
    for _ in range(batch):
        engine.submit(Job(time, 500, 200))
    while time < 2000:
        time += 0.02
        engine.advance(time)
        for _ in engine.finished[taken:]:
            engine.submit(Job(time, 500, 200))
        taken = len(engine.finished)
    assert taken / 2000 == pytest.approx(MODEL.requests_per_second(batch, 500, 200), rel=0.05)
