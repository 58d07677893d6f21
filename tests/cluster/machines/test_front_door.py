from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from chartproof.cluster.machines.endpoints import Endpoints
from chartproof.cluster.machines.front_door import FrontDoor
from chartproof.cluster.machines.network import Network
from chartproof.cluster.machines.routes import Routes
from chartproof.cluster.machines.watch import Change
from chartproof.cluster.speed import Speed
from tests.cluster.machines.talker import Talker, endpoint, endpoint_slice, leaving, piece, run, service, started, until
from tests.cluster.machines.test_routes import NAMED_PORT, deployment

FIRST, SECOND = "10.64.0.1", "10.64.0.2"
COMPLETIONS = "/v1/completions"


@dataclass
class Street:
    """A front door, the cluster behind it, and a client before it. Nothing is ready at first."""

    door: FrontDoor
    endpoints: Endpoints
    routes: Routes
    network: Network
    client: aiohttp.ClientSession
    talkers: dict[str, Talker] = field(default_factory=dict)

    def ready(self, *endpoints: Mapping[str, Any] | str) -> None:
        """These pods are behind the Service now."""
        bodies = [endpoint(each) if isinstance(each, str) else each for each in endpoints]
        for address in [each["addresses"][0] for each in bodies]:
            if address not in self.talkers:
                self.talkers[address] = started()
                self.network.attach(address, self.talkers[address])
        self.endpoints.slice_changed(Change.MODIFIED, endpoint_slice(*bodies))

    def speak(self, address: str = FIRST, times: int = 3) -> None:
        """Let a pod's program say so many pieces."""
        for _ in range(times):
            self.talkers[address].may.release()

    async def ask(self, path: str = COMPLETIONS, model: str = "llama", **given: Any) -> tuple[int, bytes]:
        url = f"http://127.0.0.1:{self.door.port}{path}"
        async with self.client.post(url, json={"model": model}, **given) as answer:
            return answer.status, await answer.read()

    async def waiting(self, count: int) -> None:
        """Wait until so many requests are held."""
        await until(lambda: self.door.held()["llama"] == count)

    async def got(self, count: int) -> None:
        """Wait until the pods have got so many requests."""
        await until(lambda: sum(self.asked()) == count)

    def asked(self) -> list[int]:
        """How many requests each pod got."""
        return [len(self.talkers[each].asked) for each in (FIRST, SECOND) if each in self.talkers]

    async def metrics(self) -> dict[str, float]:
        async with self.client.get(f"http://127.0.0.1:{self.door.port}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            lines = (await answer.text()).splitlines()
        pairs = (each.rpartition(" ") for each in lines if not each.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    async def count(self, name: str, **more: str) -> float:
        inside = "".join(f',{key}="{value}"' for key, value in more.items())
        found = await self.metrics()
        return found[f'chartproof_front_door_{name}{{model="llama",namespace="llm",service="llama"{inside}}}']


@asynccontextmanager
async def street(*, speed: float = 1.0, **hold: Any) -> AsyncIterator[Street]:
    endpoints, routes = Endpoints(), Routes()
    for each in (endpoints.service_changed, routes.service_changed):
        each(Change.ADDED, service())
    routes.workload_changed(Change.ADDED, deployment(arguments="--served-model-name llama", **NAMED_PORT))
    network = Network(endpoints)
    door = FrontDoor(network, endpoints, routes, Speed(speed), **hold)
    await door.start(0)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            yield Street(door, endpoints, routes, network, client)
    finally:
        await door.stop()
        await network.stop()


WHOLE = b"".join(piece(number) for number in range(3))


# --- Held and released ------------------------------------------------------------------------------------------------


def test_two_hundred_requests_at_zero_replicas_are_held_and_each_is_answered_once() -> None:
    async def test() -> None:
        async with street() as one:
            asking = [asyncio.create_task(one.ask()) for _ in range(200)]
            await one.waiting(200)
            one.ready(FIRST)
            one.speak(times=3 * 200)
            assert await asyncio.gather(*asking) == [(200, WHOLE)] * 200
            assert len(one.talkers[FIRST].asked) == 200
            assert one.door.held() == {"llama": 0}
            assert await one.count("requests_total") == await one.count("held_seconds_count") == 200
            assert await one.count("answers_total", status="200") == 200

    run(test())


def test_who_came_first_is_served_first() -> None:
    async def test() -> None:
        async with street() as one:
            asking = []
            for number in range(20):
                asking.append(asyncio.create_task(one.ask(f"{COMPLETIONS}?{number}")))
                await one.waiting(number + 1)
            one.ready(FIRST)
            one.speak(times=60)
            await asyncio.gather(*asking)
            assert [each[1].query_string for each in one.talkers[FIRST].asked] == [str(each) for each in range(20)]

    run(test())


def test_a_held_request_is_counted_when_it_comes() -> None:
    async def test() -> None:
        async with street() as one:
            nginx = 'nginx_ingress_controller_requests{ingress="llama",namespace="llm",service="llama"}'
            assert (await one.metrics())[nginx] == await one.count("held") == 0
            asking = asyncio.create_task(one.ask())
            await one.waiting(1)
            assert (await one.metrics())[nginx] == await one.count("held") == 1
            one.ready(FIRST)
            one.speak()
            await asking
            assert (await one.metrics())[nginx] == 1
            assert await one.count("held") == 0

    run(test())


@pytest.mark.parametrize(
    "there", [(), (leaving(FIRST),), (endpoint(FIRST, ready=False),)], ids=["none", "leaving", "loading"]
)
def test_requests_are_held_while_no_endpoint_is_ready(there: tuple[Mapping[str, Any], ...]) -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(*there)
            asking = asyncio.create_task(one.ask())
            await one.waiting(1)
            one.ready(*there, SECOND)
            one.speak(SECOND)
            assert await asking == (200, WHOLE)

    run(test())


def test_past_the_time_a_client_is_told_to_come_back() -> None:
    async def test() -> None:
        async with street(speed=6000, hold_seconds=600) as one:
            url = f"http://127.0.0.1:{one.door.port}{COMPLETIONS}"
            async with one.client.post(url, json={"model": "llama"}) as answer:
                assert answer.status == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert (await answer.json())["error"]["code"] == 503
            assert await one.count("lost_total", reason="hold-timeout") == 1
            assert await one.count("held_seconds_sum") >= 600
            assert await one.count("answers_total", status="503") == 1

    run(test())


def test_past_the_limit_a_client_is_told_to_come_back_and_the_others_stay() -> None:
    async def test() -> None:
        async with street(hold_limit=2) as one:
            asking = [asyncio.create_task(one.ask()) for _ in range(2)]
            await one.waiting(2)
            assert (await one.ask())[0] == 503
            assert await one.count("lost_total", reason="hold-limit") == 1
            one.ready(FIRST)
            one.speak(times=6)
            assert await asyncio.gather(*asking) == [(200, WHOLE)] * 2

    run(test())


def test_a_client_that_goes_away_while_it_is_held_is_counted_and_never_forwarded() -> None:
    async def test() -> None:
        async with street() as one:
            staying = asyncio.create_task(one.ask())
            await one.waiting(1)
            going = asyncio.create_task(one.ask())
            await one.waiting(2)
            going.cancel()
            await one.waiting(1)
            assert await one.count("lost_total", reason="client-while-held") == 1
            one.ready(FIRST)
            one.speak()
            assert await staying == (200, WHOLE)
            assert len(one.talkers[FIRST].asked) == 1

    run(test())


# --- Forwarded --------------------------------------------------------------------------------------------------------


def test_the_least_busy_endpoint_is_taken_and_of_equals_the_one_that_rested_longest() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST, SECOND)
            asking = []
            for number in range(4):
                asking.append(asyncio.create_task(one.ask()))
                await one.got(number + 1)
            assert one.asked() == [2, 2]
            one.speak(SECOND, times=6)
            await until(lambda: sum(each.done() for each in asking) == 2)
            asking += [asyncio.create_task(one.ask()) for _ in range(2)]
            await one.got(6)
            assert one.asked() == [2, 4]
            one.speak(FIRST, times=6)
            one.speak(SECOND, times=6)
            await asyncio.gather(*asking)

    run(test())


def test_pieces_are_handed_on_one_by_one() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST)
            url = f"http://127.0.0.1:{one.door.port}{COMPLETIONS}"
            async with one.client.post(url, json={"model": "llama"}) as answer:
                for number in range(3):
                    one.speak(times=1)
                    assert await answer.content.readexactly(len(piece(number))) == piece(number)

    run(test())


def test_an_endpoint_that_refuses_is_passed_over() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST, SECOND)
            one.talkers[FIRST].kill()
            one.speak(SECOND, times=12)
            assert [await one.ask() for _ in range(4)] == [(200, WHOLE)] * 4
            assert one.talkers[FIRST].asked == []
            assert await one.count("refusals_total") > 0

    run(test())


def test_where_every_endpoint_refuses_a_request_waits_for_a_change() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST)
            one.talkers[FIRST].listening = False
            asking = asyncio.create_task(one.ask())
            await one.waiting(1)
            one.talkers[FIRST].listening = True
            one.ready(endpoint(FIRST, ready=False))
            await one.waiting(1)
            one.ready(FIRST)
            one.speak()
            assert await asking == (200, WHOLE)
            assert await one.count("refusals_total") == 1

    run(test())


def test_what_broke_off_is_not_sent_again() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST, SECOND)
            for address in (FIRST, SECOND):
                one.talkers[address].breaks_after = 0
                one.speak(address)
            with pytest.raises(aiohttp.ClientError):
                await one.ask()
            assert sum(one.asked()) == 1
            assert await one.count("lost_total", reason="broken") == 1
            assert await one.count("answers_total", status="cut") == 1

    run(test())


def test_an_error_of_the_engine_is_handed_on_and_not_repeated() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST, SECOND)
            for address in (FIRST, SECOND):
                one.talkers[address].status = 502
                one.speak(address)
            assert (await one.ask())[0] == 502
            assert sum(one.asked()) == 1

    run(test())


def test_a_client_that_goes_away_ends_the_engines_work() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST)
            url = f"http://127.0.0.1:{one.door.port}{COMPLETIONS}"
            async with one.client.post(url, json={"model": "llama"}) as answer:
                one.speak(times=1)
                await answer.content.readexactly(len(piece(0)))
                answer.close()
            await one.talkers[FIRST].gone.wait()
            assert await one.count("lost_total", reason="client") == 1

    run(test())


# --- Where to ---------------------------------------------------------------------------------------------------------


def test_a_path_may_name_the_service() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST)
            one.speak()
            assert await one.ask(f"/llm/llama{COMPLETIONS}?a=1", model="whatever") == (200, WHOLE)
            assert str(one.talkers[FIRST].asked[0][1]) == f"http://{FIRST}:8000{COMPLETIONS}?a=1"

    run(test())


def test_where_two_namespaces_serve_a_model_one_must_be_named() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST)
            one.speak(times=6)
            there = service(clusterIP="10.96.0.11")
            there["metadata"]["namespace"] = "staging"
            one.routes.service_changed(Change.ADDED, there)
            arguments = "--served-model-name llama"
            one.routes.workload_changed(
                Change.ADDED, deployment(namespace="staging", arguments=arguments, **NAMED_PORT)
            )
            status, body = await one.ask()
            assert status == 400
            assert b"X-Namespace" in body
            assert b"/staging/llama" in body
            assert (await one.ask(headers={"X-Namespace": "llm"}))[0] == 200
            assert (await one.ask(f"/llm/llama{COMPLETIONS}"))[0] == 200

    run(test())


@pytest.mark.parametrize(
    ("path", "model", "status"),
    [
        (COMPLETIONS, "other", 404),
        ("/llm/other/v1/completions", "llama", 404),
        ("/", "llama", 404),
        ("/v1", "llama", 404),
    ],
)
def test_what_leads_nowhere_is_refused(path: str, model: str, status: int) -> None:
    async def test() -> None:
        async with street() as one:
            found, body = await one.ask(path, model)
            assert found == status
            assert b'"error"' in body

    run(test())


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"nonsense", b"\xff"])
def test_a_body_that_names_no_model_is_refused(body: bytes) -> None:
    async def test() -> None:
        async with street() as one:
            url = f"http://127.0.0.1:{one.door.port}{COMPLETIONS}"
            async with one.client.post(url, data=body) as answer:
                assert answer.status == 400

    run(test())


def test_the_models_are_listed_at_zero_replicas() -> None:
    async def test() -> None:
        async with street() as one:
            async with one.client.get(f"http://127.0.0.1:{one.door.port}/v1/models") as answer:
                assert [each["id"] for each in (await answer.json())["data"]] == ["llama"]
            async with one.client.get(f"http://127.0.0.1:{one.door.port}/healthz") as answer:
                assert answer.status == 200

    run(test())


def test_counters_of_a_model_go_with_its_service_and_begin_anew() -> None:
    async def test() -> None:
        async with street() as one:
            one.ready(FIRST)
            one.speak()
            await one.ask()
            assert await one.count("requests_total") == 1
            one.routes.service_changed(Change.DELETED, service())
            assert not any("llama" in name for name in await one.metrics())
            one.routes.service_changed(Change.ADDED, service())
            assert await one.count("requests_total") == 0

    run(test())


def test_who_is_held_outlives_a_service_that_is_made_anew() -> None:
    async def test() -> None:
        async with street() as one:
            asking = asyncio.create_task(one.ask())
            await one.waiting(1)
            one.routes.service_changed(Change.DELETED, service())
            one.ready(FIRST)
            one.routes.service_changed(Change.ADDED, service())
            one.speak()
            assert await asking == (200, WHOLE)

    run(test())
