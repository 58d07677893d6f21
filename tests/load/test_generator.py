from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator

import pytest
from aiohttp import web

from chartproof.cluster.speed import Speed
from chartproof.errors import UsageError
from chartproof.load.arrivals import Piece, evenly
from chartproof.load.background import BackgroundLoad
from chartproof.load.client import Target
from chartproof.load.generator import Load, Progress
from chartproof.load.records import Record
from chartproof.simulate.traffic import Request, Trace
from tests.load.engine import Engine, run, serving, serving_beside, until


def endless() -> Trace:
    def requests() -> Iterator[Request]:
        for number in range(10**9):
            yield Request(number / 100, 5, 7)

    return Trace("endless", open_requests=requests)


async def never(_: web.BaseRequest) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError


def test_every_request_is_sent_once_and_told_of() -> None:
    async def test() -> None:
        told: list[Record] = []
        progress: list[Progress] = []
        async with serving(Engine()) as engine:
            trace = evenly([Piece(1000, 2)], prompt_tokens=8, answer_tokens=7)
            load = Load(
                Target(engine.url, "llama"), trace, Speed(4), on_record=told.append, on_progress=progress.append
            )
            records = await load.run()
        assert len(engine.asked) == len(records) == 2000
        assert told == records == load.records
        assert {each.outcome for each in records} == {"ok"}
        assert sorted(each.index for each in records) == list(range(2000))
        assert [each.due for each in sorted(records, key=lambda each: each.index)][:3] == [0, 0.001, 0.002]
        assert all(each.sent >= each.due for each in records)
        last = progress[-1]
        assert (last.sent, last.open, last.answered, last.lost) == (2000, 0, 2000, 0)
        assert last.seconds >= 1.999

    run(test())


def test_a_request_does_not_wait_for_the_one_before() -> None:
    async def test() -> None:
        everybody = asyncio.Event()

        async def wait_for_all(request: web.BaseRequest) -> web.StreamResponse:
            if len(engine.asked) == 50:
                everybody.set()
            await everybody.wait()
            return web.Response(status=503)

        async with serving(Engine(answer=wait_for_all)) as engine:
            records = await Load(Target(engine.url, "llama"), evenly([Piece(50, 1)]), Speed(10)).run()
        assert [each.outcome for each in records] == ["http-503"] * 50

    run(test())


def test_time_is_simulated() -> None:
    async def test() -> None:
        async with serving(Engine()) as engine:
            before = time.time()
            load = Load(Target(engine.url, "llama"), evenly([Piece(1, 60)]), Speed(600))
            assert math.isnan(load.began)
            records = await load.run()
        assert time.time() - before < 30
        assert before <= load.began <= time.time()
        assert records[-1].done >= 59

    run(test())


def test_a_stop_lets_open_requests_end() -> None:
    async def test() -> None:
        async with serving(Engine()) as engine:
            load = Load(Target(engine.url, "llama"), endless(), Speed(1))
            running = asyncio.create_task(load.run())
            await until(lambda: len(load.records) >= 5)
            load.stop()
            records = await running
        assert {each.outcome for each in records} == {"ok"}
        assert len(records) == len(engine.asked)

    run(test())


def test_a_stop_ends_a_long_pause() -> None:
    async def test() -> None:
        async with serving(Engine()) as engine:
            trace = Trace("rare", open_requests=lambda: iter([Request(0, 5, 7), Request(3600, 5, 7)]))
            load = Load(Target(engine.url, "llama"), trace, Speed(1))
            running = asyncio.create_task(load.run())
            await until(lambda: bool(load.records))
            load.stop()
            assert len(await running) == 1

    run(test())


def test_cancelled_it_ends_open_requests_and_tells_of_them() -> None:
    async def test() -> None:
        async with serving(Engine(answer=never)) as engine:
            load = Load(Target(engine.url, "llama"), endless(), Speed(1))
            running = asyncio.create_task(load.run())
            await until(lambda: len(engine.asked) >= 5)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert len(load.records) >= 5
            assert {(each.outcome, each.lost) for each in load.records} == {("stopped", False)}
            await until(lambda: engine.gone == len(engine.asked))
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert not any("Load" in repr(each.get_coro()) for each in others)

    run(test())


def test_an_address_that_is_none_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(UsageError):
        run(Load(Target("nonsense", "llama"), endless(), Speed(1)).run())


# --- In a thread ------------------------------------------------------------------------------------------------------


def test_in_the_background_a_load_is_finished() -> None:
    with serving_beside(Engine()) as engine:
        load = Load(Target(engine.url, "llama"), endless(), Speed(1))
        with BackgroundLoad(load) as running:
            while not load.records:
                time.sleep(0.01)
            records = running.finish(20)
            assert not running.is_running
        assert {each.outcome for each in records} == {"ok"}


def test_in_the_background_a_trace_comes_to_its_end() -> None:
    with serving_beside(Engine()) as engine:
        load = Load(Target(engine.url, "llama"), evenly([Piece(10, 1)]), Speed(10))
        with BackgroundLoad(load) as running:
            assert len(running.wait(20)) == 10
            assert running.finish() == load.records


def test_the_end_of_the_block_ends_a_load_in_the_background() -> None:
    with serving_beside(Engine(answer=never)) as engine:
        load = Load(Target(engine.url, "llama"), endless(), Speed(1))
        with BackgroundLoad(load) as running:
            with pytest.raises(TimeoutError):
                running.wait(0.01)
            while not engine.asked:
                time.sleep(0.01)
        assert not running.is_running
        assert {each.outcome for each in running.wait()} == {"stopped"}


def test_what_goes_wrong_in_the_background_is_told_to_who_waits() -> None:
    with BackgroundLoad(Load(Target("nonsense", "llama"), endless(), Speed(1))) as running, pytest.raises(UsageError):
        running.wait(20)
