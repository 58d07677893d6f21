"""Load, front door, pod network and played engines together: what clients see of a start, a drain and a kill."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from chartproof.cluster.machines.endpoints import Endpoints
from chartproof.cluster.machines.engine_server import EngineServer
from chartproof.cluster.machines.front_door import FrontDoor
from chartproof.cluster.machines.network import Network
from chartproof.cluster.machines.routes import Routes
from chartproof.cluster.machines.watch import Change
from chartproof.load.arrivals import Piece, drawn, evenly
from chartproof.load.client import Target
from chartproof.load.generator import Load
from chartproof.load.records import Record
from tests.cluster.machines.engines import NAME, SPEED, engine
from tests.cluster.machines.loopback import run
from tests.cluster.machines.talker import endpoint, endpoint_slice, leaving, service
from tests.cluster.machines.test_routes import NAMED_PORT, deployment

ADDRESSES = ("10.64.0.1", "10.64.0.2", "10.64.0.3")
THROUGH = pytest.mark.parametrize("through", ["front door", "Service"])


@dataclass
class Cluster:
    """A model's Service, its engines, and two ways to it; nothing runs at first."""

    network: Network
    door: FrontDoor
    endpoints: Endpoints
    engines: dict[str, EngineServer] = field(default_factory=dict)
    slices: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def start(self, *addresses: str, **settings: Any) -> None:
        """Start engines, and publish them once they have loaded."""
        for each in addresses:
            self.engines[each] = engine(**settings)
            self.engines[each].start()
            self.network.attach(each, self.engines[each])
        for each in addresses:
            while not self.engines[each].listening:  # noqa: ASYNC110 - as a probe does
                await asyncio.sleep(SPEED.real(1))
            self.publish({each: endpoint(each)})

    def publish(self, endpoints: dict[str, dict[str, Any]], gone: Sequence[str] = ()) -> None:
        """Change what is known of these endpoints."""
        self.slices.update(endpoints)
        for each in gone:
            del self.slices[each]
        self.endpoints.slice_changed(Change.MODIFIED, endpoint_slice(*self.slices.values()))

    async def drain(self, address: str, *, pre_stop: float) -> None:
        """Delete a pod, as endpoint controller and kubelet do it together."""
        self.publish({address: leaving(address)})
        await asyncio.sleep(SPEED.real(pre_stop))
        self.engines[address].terminate()
        await self.engines[address].exit
        self.network.detach(address)
        self.publish({}, gone=[address])

    def load(self, through: str, per_second: float, seconds: float, **more: Any) -> Load:
        direct = Target(f"http://127.0.0.1:{self.door.port}", NAME)
        proxied = Target("http://llama.llm.svc", NAME, proxy=f"http://127.0.0.1:{self.network.port}")
        trace = drawn([Piece(per_second, seconds)], prompt_tokens=100, answer_tokens=100)
        return Load(direct if through == "front door" else proxied, more.get("trace", trace), SPEED)


@asynccontextmanager
async def cluster(**door: Any) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        endpoints, routes = Endpoints(), Routes()
        for each in (endpoints.service_changed, routes.service_changed):
            each(Change.ADDED, service())
        routes.workload_changed(Change.ADDED, deployment(arguments=f"--served-model-name {NAME}", **NAMED_PORT))
        network = Network(endpoints)
        await network.start(0)
        stack.push_async_callback(network.stop)
        front_door = FrontDoor(network, endpoints, routes, SPEED, **door)
        await front_door.start(0)
        stack.push_async_callback(front_door.stop)
        found = Cluster(network, front_door, endpoints)
        yield found
        for program in found.engines.values():
            if not program.exit.done():
                program.kill()


def outcomes(records: list[Record]) -> Counter[str]:
    return Counter(each.outcome for each in records)


def test_two_hundred_requests_at_zero_replicas_wait_for_the_first_and_none_is_lost() -> None:
    async def test() -> None:
        async with cluster() as one:
            load = one.load("front door", 0, 1, trace=evenly([Piece(20, 10)], prompt_tokens=50, answer_tokens=20))
            running = asyncio.create_task(load.run())
            while not one.door.held()[NAME]:  # noqa: ASYNC110 - as a poll does
                await asyncio.sleep(SPEED.real(1))
            await one.start(ADDRESSES[0], load_seconds=60)
            records = await running
            assert outcomes(records) == {"ok": 200}
            assert {each.received_tokens for each in records} == {20}
            waits = [each.time_to_first_token or 0 for each in records]
            assert max(waits) > 60
            assert max(waits) < 70

    run(test())


def test_those_who_come_for_a_model_that_does_not_start_are_told_in_time() -> None:
    async def test() -> None:
        async with cluster(hold_seconds=120, hold_limit=30) as one:
            trace = evenly([Piece(10, 4)], prompt_tokens=50, answer_tokens=20)
            records = await one.load("front door", 0, 1, trace=trace).run()
            assert outcomes(records) == {"http-503": 40}
            waits = sorted(each.end_to_end for each in records)
            assert waits[9] < 1
            assert 119.9 < waits[10] <= waits[-1] < 125

    run(test())


@pytest.mark.slow
@THROUGH
def test_a_drain_and_a_replacement_under_load_lose_nothing(through: str) -> None:
    async def test() -> None:
        async with cluster() as one:
            await one.start(*ADDRESSES[:2], drain_seconds=80)
            load = one.load(through, 8, 75)
            running = asyncio.create_task(load.run())
            await asyncio.sleep(SPEED.real(10))
            await one.start(ADDRESSES[2], load_seconds=10)
            await one.drain(ADDRESSES[0], pre_stop=10)
            await one.drain(ADDRESSES[1], pre_stop=10)
            records = await running
            assert len(records) >= 500
            assert outcomes(records) == {"ok": len(records)}

    run(test())


@THROUGH
def test_a_kill_under_load_is_seen_as_aborts(through: str) -> None:
    async def test() -> None:
        async with cluster() as one:
            await one.start(*ADDRESSES[:2])
            load = one.load(through, 8, 30)
            running = asyncio.create_task(load.run())
            await asyncio.sleep(SPEED.real(15))
            busy = one.engines[ADDRESSES[0]].running
            one.engines[ADDRESSES[0]].kill()
            one.publish({}, gone=[ADDRESSES[0]])
            records = await running
            found = outcomes(records)
            assert set(found) == {"ok", "aborted"}
            assert found["aborted"] >= busy > 0

    run(test())


def test_an_engine_that_is_ended_before_clients_know_refuses_those_of_a_service() -> None:
    async def test() -> None:
        async with cluster() as one:
            await one.start(*ADDRESSES[:2])
            running = asyncio.create_task(one.load("Service", 8, 30).run())
            await asyncio.sleep(SPEED.real(10))
            one.engines[ADDRESSES[0]].kill()
            await asyncio.sleep(SPEED.real(10))
            one.publish({}, gone=[ADDRESSES[0]])
            found = outcomes(await running)
            assert found["refused"] > 10
            assert found["ok"] > 100

    run(test())


def test_an_engine_that_drains_before_clients_know_gives_new_requests_up() -> None:
    async def test() -> None:
        async with cluster() as one:
            await one.start(*ADDRESSES[:2], drain_seconds=80)
            running = asyncio.create_task(one.load("front door", 8, 30).run())
            await asyncio.sleep(SPEED.real(10))
            one.engines[ADDRESSES[0]].terminate()
            records = await running
            aborted = [each for each in records if each.outcome == "aborted"]
            assert aborted
            assert {each.detail for each in aborted} == {"finish_reason abort"}
            assert outcomes(records)["ok"] == len(records) - len(aborted)

    run(test())


def test_a_client_that_stops_frees_its_place_in_the_batch() -> None:
    async def test() -> None:
        async with cluster() as one:
            await one.start(ADDRESSES[0])
            running = asyncio.create_task(one.load("front door", 20, 60).run())
            await asyncio.sleep(SPEED.real(10))
            assert one.engines[ADDRESSES[0]].running > 0
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await asyncio.sleep(SPEED.real(5))
            assert one.engines[ADDRESSES[0]].running == one.engines[ADDRESSES[0]].waiting == 0

    run(test())
