from __future__ import annotations

import asyncio
import math
import random
import statistics
from dataclasses import dataclass

import pytest

from chartproof.cluster.machines.engine_metrics import vllm_buckets
from chartproof.cluster.machines.played_engine import MeteredEngine, PlayedEngine, Ticket
from chartproof.simulate.engine import Engine, EngineModel, Job
from tests.cluster.machines.engines import MODEL, SPEED, STREAMED, completion, engine
from tests.cluster.machines.loopback import now, run, serving

BUCKETS = vllm_buckets(8192)
#: Few requests fit: some wait, some are put back.
TIGHT = EngineModel(
    base=0.02,
    per_sequence=0.0005,
    per_kv_token=2e-8,
    per_prompt_token=1e-4,
    kv_tokens=12_000,
    max_sequences=32,
    step_tokens=2048,
)


@dataclass(frozen=True, slots=True)
class Asked:
    time: float
    prompt: int
    answer: int


def arrivals(count: int, per_second: float, seed: int) -> list[Asked]:
    source = random.Random(seed)  # noqa: S311
    time, found = 1.0, []
    for _ in range(count):
        time += source.expovariate(per_second)
        found.append(Asked(time, source.randint(50, 1500), source.randint(5, 400)))
    return found


def simulated(model: EngineModel, asked: list[Asked]) -> tuple[Engine, list[Job]]:
    reference, jobs = Engine(model, 0.0), []
    for each in asked:
        reference.advance(each.time)
        jobs.append(Job(each.time, each.prompt, each.answer))
        assert reference.submit(jobs[-1])
    reference.advance(asked[-1].time + 10_000)
    return reference, jobs


@pytest.mark.parametrize("model", [MODEL, TIGHT])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_played_engine_is_as_fast_as_the_simulated_one(model: EngineModel, seed: int) -> None:
    asked = arrivals(300, 2.0, seed)
    reference, jobs = simulated(model, asked)

    async def play() -> tuple[PlayedEngine, list[Ticket]]:
        played = PlayedEngine(model, BUCKETS, SPEED, first=lambda _: None, finished=lambda _: None)
        tickets = []
        for each in asked:
            await asyncio.sleep(SPEED.real(each.time) - now())
            ticket = played.submit(each.prompt, each.answer)
            assert ticket is not None
            tickets.append(ticket)
        await asyncio.gather(*(played.finish(each) for each in tickets))
        return played, tickets

    played, tickets = run(play())
    assert max(each.finish for each in tickets) == pytest.approx(max(each.finish for each in jobs), rel=0.01)
    for name in ("time_to_first_token", "end_to_end"):
        ours = statistics.fmean(getattr(each, name) for each in tickets)
        assert ours == pytest.approx(statistics.fmean(getattr(each, name) for each in jobs), rel=0.03)
    assert played.engine.busy_seconds == pytest.approx(reference.busy_seconds, rel=0.02)
    assert played.engine.answer_tokens_total == sum(each.answer for each in asked)
    if model is TIGHT:
        assert played.engine.preemptions_total > 0


def test_what_clients_see_over_http_is_what_the_simulator_says() -> None:
    asked = arrivals(100, 2.0, 3)
    _, jobs = simulated(MODEL, asked)

    async def play() -> list[tuple[float, float]]:
        server = engine(load_seconds=0.0)
        async with serving(server) as client:
            await asyncio.sleep(0.01)

            async def ask(each: Asked) -> tuple[float, float]:
                await asyncio.sleep(SPEED.real(each.time) - now())
                before = now()
                answer = await client.post("/v1/completions", completion(each.prompt, each.answer, **STREAMED))
                assert answer.whole
                return SPEED.simulated(answer.times[0] - before), SPEED.simulated(answer.times[-1] - before)

            return await asyncio.gather(*(ask(each) for each in asked))

    seen = run(play())
    # The batch is looked at every 0.02 s, which are 0.3 of the simulation: so late may a token be.
    for i, name in enumerate(("time_to_first_token", "end_to_end")):
        late = statistics.fmean(each[i] for each in seen) - statistics.fmean(getattr(each, name) for each in jobs)
        assert 0 <= late < 0.3


def filled(model: EngineModel = MODEL, *tickets: Ticket) -> MeteredEngine:
    found = MeteredEngine(model, 0.0, BUCKETS)
    for each in tickets:
        found.advance(each.arrival)
        assert found.submit(each)
    return found


def test_every_token_and_step_is_metered() -> None:
    asked = arrivals(200, 2.0, 5)
    tickets = [Ticket(each.time, each.prompt, each.answer, max_tokens=each.answer) for each in asked]
    metered = filled(TIGHT, *tickets)
    metered.advance(10_000)
    meter = metered.meter
    for each in tickets:
        meter.count_finished(each)
    answers = sum(each.answer for each in asked)
    assert meter.prompt_tokens == sum(each.prompt for each in asked)
    assert meter.time_to_first_token.count == len(asked)
    # All tokens but the first ones came some time after another one.
    assert meter.inter_token_latency.count == answers - len(asked)
    decoding = sum(each.finish - each.first_token for each in tickets)
    assert meter.inter_token_latency.sum == pytest.approx(decoding, rel=0.01)
    assert meter.decode.sum == pytest.approx(decoding)
    assert meter.iteration_tokens.sum == meter.prompt_tokens + answers
    assert meter.queue.sum + meter.inference.sum == pytest.approx(sum(each.finish - each.arrival for each in tickets))
    assert meter.request_preemptions.sum == metered.preemptions_total > 0
    assert meter.finished == {"length": len(asked)}


@pytest.mark.parametrize("place", ["waiting", "prompt", "running"])
def test_a_dropped_request_leaves_nothing_behind(place: str) -> None:
    model = EngineModel(0.02, 0.0, 0.0, 1e-4, kv_tokens=50_000, max_sequences=2, step_tokens=512)
    others = [Ticket(0.0, 2000, 400), Ticket(0.0, 2000, 400)]
    dropped = Ticket(0.0, 2000, 400)
    metered = filled(model, *others, dropped)

    def reached() -> bool:
        if place == "waiting":
            return dropped in metered.waiting
        return not math.isnan(dropped.first_token) if place == "running" else not math.isnan(dropped.admitted)

    while not reached():
        metered.advance(metered.time + 0.01)
    assert math.isnan(dropped.finish)
    load = metered.load
    metered.drop(dropped)
    assert metered.load == load - 1
    metered.advance(10_000)
    assert [each.left for each in others] == [0, 0]
    assert (metered.kv_tokens, metered.load) == (0, 0)
    assert math.isnan(dropped.finish)


def test_a_dropped_prompt_gives_its_place_to_the_next() -> None:
    model = EngineModel(0.02, 0.0, 0.0, 1e-3, kv_tokens=50_000, max_sequences=8, step_tokens=500)
    first, second = Ticket(0.0, 5000, 10), Ticket(0.0, 400, 10)
    metered = filled(model, first)
    metered.advance(0.6)
    metered.submit(second)
    metered.drop(first)
    metered.advance(2.0)
    assert second.finish < 1.7
    assert metered.prompt_tokens_total < 5000


def test_tokens_of_an_answer_grow_step_by_step() -> None:
    ticket = Ticket(0.0, 100, 100)
    metered = filled(MODEL, ticket)
    assert metered.tokens_of(ticket) == 0
    counts = []
    for i in range(1, 30):
        metered.advance(i * 0.1)
        counts.append(metered.tokens_of(ticket))
    assert counts == sorted(counts)
    assert counts[0] > 0
    assert counts[-1] == 100
