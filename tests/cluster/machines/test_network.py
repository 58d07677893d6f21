from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chartproof.cluster.machines.endpoints import Endpoints
from chartproof.cluster.machines.listener import Listener
from chartproof.cluster.machines.network import Network
from chartproof.cluster.machines.server import ERROR_HEADER
from chartproof.cluster.machines.watch import Change
from chartproof.errors import UsageError
from tests.cluster.machines.talker import (
    Talker,
    endpoint,
    endpoint_slice,
    piece,
    process,
    run,
    service,
    started,
)

POD = "10.64.0.7"
PLAYED_OR_REAL = pytest.mark.parametrize("real", [False, True], ids=["played", "real"])


@dataclass
class Cable:
    """A network with one Service in front of one pod, and a client."""

    network: Network
    client: aiohttp.ClientSession
    talker: Talker

    def ask(self, url: str = "http://llama.llm/stream", method: str = "GET", **given: Any) -> Any:
        return self.client.request(method, url, proxy=f"http://127.0.0.1:{self.network.port}", **given)

    async def get(self, url: str, **given: Any) -> tuple[int, str, str]:
        async with self.ask(url, **given) as answer:
            return answer.status, answer.headers.get(ERROR_HEADER, ""), await answer.text()


@asynccontextmanager
async def cable(*, real: bool = False, **talker: Any) -> AsyncIterator[Cable]:
    """`real`: the pod's address is that of a program with a port."""
    async with AsyncExitStack() as stack:
        endpoints = Endpoints()
        endpoints.service_changed(Change.ADDED, service())
        endpoints.slice_changed(Change.ADDED, endpoint_slice(endpoint(POD)))
        network = Network(endpoints)
        await network.start(0)
        stack.push_async_callback(network.stop)
        program = started(**talker)
        if real:
            network.alias(POD, 8000, ("127.0.0.1", await stack.enter_async_context(process(program))))
        else:
            network.attach(POD, program)
        client = await stack.enter_async_context(aiohttp.ClientSession())
        yield Cable(network, client, program)


# --- Streams ----------------------------------------------------------------------------------------------------------


@PLAYED_OR_REAL
def test_each_piece_arrives_before_the_next_is_said(real: bool) -> None:
    async def test() -> None:
        async with cable(real=real) as one, one.ask() as answer:
            for number in range(one.talker.pieces):
                one.talker.may.release()
                assert await answer.content.readexactly(len(piece(number))) == piece(number)
            assert await answer.content.read() == b""
            assert answer.headers["Content-Type"] == "text/event-stream"

    run(test())


def test_a_body_is_streamed_to_a_real_program() -> None:
    async def test() -> None:
        first_part, rest = asyncio.Event(), asyncio.Event()

        async def echo(request: web.BaseRequest) -> web.StreamResponse:
            assert await request.content.readexactly(4) == b"half"
            first_part.set()
            return web.Response(body=await request.read())

        async def body() -> AsyncIterator[bytes]:
            yield b"half"
            await rest.wait()
            yield b"full"

        async with cable() as one:
            listener = Listener(echo)
            await listener.start(0)
            one.network.alias("10.64.0.8", 80, ("127.0.0.1", listener.port))
            asking = asyncio.create_task(one.get("http://10.64.0.8/", method="POST", data=body()))
            await first_part.wait()
            assert not asking.done()
            rest.set()
            assert await asking == (200, "", "full")
            await listener.stop()

    run(test())


def test_a_real_program_that_was_refused_a_connection_has_answered_all_the_same() -> None:
    async def test() -> None:
        async def relay(_: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=502, headers={ERROR_HEADER: "refused"})

        async with cable() as one:
            listener = Listener(relay)
            await listener.start(0)
            one.network.alias("10.64.0.8", 80, ("127.0.0.1", listener.port))
            assert await one.get("http://10.64.0.8/") == (502, "", "")
            await listener.stop()

    run(test())


def test_a_real_program_may_end_a_connection_just_when_it_could_be_used_again() -> None:
    async def test() -> None:
        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nup")
            # A second request on it finds it closed.
            await reader.read(1)
            writer.close()

        async with cable() as one, await asyncio.start_server(once, "127.0.0.1", 0) as server:
            one.network.alias("10.64.0.8", 80, server.sockets[0].getsockname()[:2])
            for _ in range(2):
                assert await one.get("http://10.64.0.8/", method="POST") == (200, "", "up")

    run(test())


@PLAYED_OR_REAL
def test_a_client_that_goes_away_ends_the_programs_work(real: bool) -> None:
    async def test() -> None:
        async with cable(real=real) as one:
            async with one.ask() as answer:
                one.talker.may.release()
                await answer.content.readexactly(len(piece(0)))
                answer.close()
            await one.talker.gone.wait()

    run(test())


@PLAYED_OR_REAL
@pytest.mark.parametrize("said", [0, 2])
def test_an_answer_that_breaks_off_is_a_broken_connection(real: bool, said: int) -> None:
    async def test() -> None:
        async with cable(real=real, breaks_after=said) as one:
            for _ in range(3):
                one.talker.may.release()
            with pytest.raises(aiohttp.ClientError):
                async with one.ask() as answer:
                    await answer.read()

    run(test())


def test_connections_are_kept_open_for_the_next_request() -> None:
    async def test() -> None:
        async with cable() as one:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.network.port)
            for _ in range(2):
                writer.write(b"GET http://llama.llm/health HTTP/1.1\r\nHost: llama.llm\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                assert await reader.readexactly(5) == b"up 1\n"
            writer.close()

    run(test())


@PLAYED_OR_REAL
def test_method_query_body_and_status_are_handed_on(real: bool) -> None:
    async def test() -> None:
        async with cable(real=real, status=418) as one:
            query = "/api?query=sum(rate(x%7Ba%3D%22b%22%7D[2m]))%20%2B%201&a=b"
            status, _, _ = await one.get(f"http://llama.llm{query}", method="PUT", data=b"what")
            method, url, body = one.talker.asked[0]
            assert (status, method, body) == (418, "PUT", b"what")
            assert url.query == {"query": 'sum(rate(x{a="b"}[2m])) + 1', "a": "b"}

    run(test())


def test_a_program_is_told_the_pods_address_and_target_port() -> None:
    async def test() -> None:
        async with cable() as one:
            await one.get("http://llama.llm/health?a=1")
            assert str(one.talker.asked[0][1]) == f"http://{POD}:8000/health?a=1"

    run(test())


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it() -> None:
    async def test() -> None:
        async with cable() as one:
            assert await one.get("http://llama.llm/x", method="POST", data=b"long", expect100=True) == (
                200,
                "",
                "up 1\n",
            )
            assert one.talker.asked[0][2] == b"long"

    run(test())


def test_answers_are_handed_on_as_they_are_packed() -> None:
    async def test() -> None:
        async def packed(request: web.BaseRequest) -> web.StreamResponse:
            assert request.headers["Accept-Encoding"] == "gzip"
            assert "Proxy-Authorization" not in request.headers
            response = web.Response(text="up 1\n" * 100)
            response.enable_compression(web.ContentCoding.gzip)
            return response

        async with cable() as one:
            listener = Listener(packed)
            await listener.start(0)
            one.network.alias(POD, 9090, ("127.0.0.1", listener.port))
            headers = {"Accept-Encoding": "gzip", "Proxy-Authorization": "Basic x"}
            async with one.ask(f"http://{POD}:9090/", headers=headers) as answer:
                assert answer.headers["Content-Encoding"] == "gzip"
                assert await answer.text() == "up 1\n" * 100
            await listener.stop()

    run(test())


# --- Nobody there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://other.llm/", "no such host"),
        ("http://llama.llm:81/", "refused"),
        ("http://10.64.0.9:8000/", "refused"),
        (f"http://{POD}:8001/", "refused"),
        ("http://127.0.0.1:1/", "refused"),
    ],
)
def test_who_asks_for_nobody_is_told_so(url: str, error: str) -> None:
    async def test() -> None:
        async with cable() as one:
            status, told, _ = await one.get(url)
            assert (status, told) == (502, error)

    run(test())


def test_a_program_that_does_not_listen_refuses() -> None:
    async def test() -> None:
        async with cable() as one:
            one.talker.listening = False
            assert (await one.get("http://llama.llm/"))[:2] == (502, "refused")
            one.network.detach(POD)
            one.network.detach(POD)
            assert (await one.get("http://llama.llm/"))[:2] == (502, "refused")

    run(test())


def test_containers_of_a_pod_share_its_address_and_a_new_life_follows_the_old() -> None:
    async def test() -> None:
        async with cable(page="old") as one:
            one.network.attach(POD, started(page="sidecar", ports=(9000,)))
            assert await one.get(f"http://{POD}:9000/") == (200, "", "sidecar")
            one.talker.kill()
            assert (await one.get(f"http://{POD}:8000/"))[0] == 502
            one.network.attach(POD, started(page="new"))
            assert await one.get(f"http://{POD}:8000/") == (200, "", "new")
            assert await one.get(f"http://{POD}:9000/") == (200, "", "sidecar")

    run(test())


def test_an_alias_can_be_taken_back() -> None:
    async def test() -> None:
        async with cable(real=True) as one:
            assert (await one.get(f"http://{POD}:8000/"))[0] == 200
            one.network.unalias(POD, 8000)
            assert (await one.get(f"http://{POD}:8000/"))[:2] == (502, "refused")

    run(test())


def test_tunnels_are_not_made() -> None:
    async def test() -> None:
        async with cable() as one:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.network.port)
            writer.write(b"CONNECT llama.llm:443 HTTP/1.1\r\nHost: llama.llm:443\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 405 ")
            writer.close()

    run(test())


# --- Faults -----------------------------------------------------------------------------------------------------------

PAGE = '# TYPE up gauge\nup{job="a b",x="c}\\"d"} 1 1700000000000\nplain 2.5e3\n'
VECTOR = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [1, "2"]}]}}
MATRIX = {"data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "2"], [2, "3"]]}]}}
SCALAR = {"data": {"resultType": "scalar", "result": [1, "2"]}}


@asynccontextmanager
async def prometheus(*answers: object) -> AsyncIterator[Cable]:
    """What answers for llama.llm is a real program that says one answer after the other as JSON."""
    left = list(answers)

    async def say(request: web.BaseRequest) -> web.StreamResponse:
        assert "Accept-Encoding" not in request.headers or not network.broken
        answer = left.pop(0) if len(left) > 1 else left[0]
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    async with cable() as one:
        network = one.network
        listener = Listener(say)
        await listener.start(0)
        network.alias(POD, 8000, ("127.0.0.1", listener.port))
        yield one
        await listener.stop()


@PLAYED_OR_REAL
@pytest.mark.parametrize(("mode", "status", "error"), [("refuse", 502, "refused"), ("error", 500, "")])
@pytest.mark.parametrize(
    "pattern",
    ["llama.llm", "llama.llm.svc.cluster.local", "*.llm", POD, "10.64.*:8000", "llama.llm:80", "*", "*/health"],
)
def test_a_broken_host_does_not_answer_until_it_is_mended(
    real: bool, mode: str, status: int, error: str, pattern: str
) -> None:
    async def test() -> None:
        async with cable(real=real) as one:
            one.network.break_host(pattern, mode)
            assert (await one.get("http://llama.llm.svc/health"))[:2] == (status, error)
            assert one.talker.asked == []
            one.network.mend(pattern)
            assert (await one.get("http://llama.llm.svc/health"))[:2] == (200, "")

    run(test())


@pytest.mark.parametrize("pattern", ["other.llm", "10.65.*", "llama.llm:81", "*/metrics", "llama"])
def test_other_hosts_and_paths_are_left_alone(pattern: str) -> None:
    async def test() -> None:
        async with cable() as one:
            one.network.break_host(pattern, "refuse")
            assert (await one.get("http://llama.llm/health"))[0] == 200

    run(test())


def test_the_fault_that_came_last_decides() -> None:
    async def test() -> None:
        async with cable() as one:
            one.network.break_host("llama.llm", "error")
            one.network.break_host("*", "refuse")
            assert (await one.get("http://llama.llm/"))[0] == 502
            one.network.break_host("llama.llm", "error")
            assert (await one.get("http://llama.llm/"))[0] == 500
            one.network.mend("not broken")

    run(test())


@pytest.mark.parametrize(("pattern", "mode"), [("llama.llm", "explode"), ("", "refuse")])
def test_a_fault_that_does_not_exist_is_refused(pattern: str, mode: str) -> None:
    with pytest.raises(UsageError):
        Network(Endpoints()).break_host(pattern, mode)


@pytest.mark.parametrize(
    ("mode", "answer", "expected"),
    [
        ("nan", VECTOR, [{"metric": {"a": "b"}, "value": [1, "NaN"]}]),
        ("nan", MATRIX, [{"metric": {}, "values": [[1, "NaN"], [2, "NaN"]]}]),
        ("nan", SCALAR, [1, "NaN"]),
        ("empty", VECTOR, []),
        ("empty", MATRIX, []),
        ("empty", SCALAR, [1, "2"]),
    ],
)
def test_answers_to_queries_lose_their_values(mode: str, answer: object, expected: object) -> None:
    async def test() -> None:
        async with prometheus(answer) as one:
            one.network.break_host("llama.llm", mode)
            status, _, text = await one.get("http://llama.llm/api/v1/query?query=up")
            assert status == 200
            assert json.loads(text)["data"]["result"] == expected

    run(test())


@pytest.mark.parametrize("mode", ["nan", "empty"])
def test_what_is_no_answer_to_a_query_stays_as_it_is(mode: str) -> None:
    async def test() -> None:
        answers = [{"data": {"activeTargets": []}}, [1], web.Response(text="{", content_type="application/json")]
        async with prometheus(*answers) as one:
            one.network.break_host("llama.llm", mode)
            assert json.loads((await one.get("http://llama.llm/api/v1/targets"))[2]) == answers[0]
            assert json.loads((await one.get("http://llama.llm/"))[2]) == [1]
            assert (await one.get("http://llama.llm/"))[2] == "{"

    run(test())


@PLAYED_OR_REAL
def test_pages_of_metrics_lose_their_values(real: bool) -> None:
    async def test() -> None:
        async with cable(real=real, page=PAGE) as one:
            one.network.break_host("*/metrics", "nan")
            expected = '# TYPE up gauge\nup{job="a b",x="c}\\"d"} NaN 1700000000000\nplain NaN\n'
            assert (await one.get(f"http://{POD}:8000/metrics"))[2] == expected
            one.network.break_host("*/metrics", "empty")
            assert (await one.get(f"http://{POD}:8000/metrics"))[2] == ""

    run(test())


def test_a_stale_host_repeats_its_first_good_answer_to_each_question() -> None:
    async def test() -> None:
        bad = web.Response(status=503, text="starting")
        async with prometheus(bad, {"n": 1}, {"n": 2}, {"n": 3}) as one:
            one.network.break_host("llama.llm", "stale")
            told = [await one.get(f"http://llama.llm/api?query=up&time={time}") for time in range(4)]
            assert [each[0] for each in told] == [503, 200, 200, 200]
            assert {each[2] for each in told[1:]} == {'{"n": 1}'}
            assert (await one.get("http://llama.llm/api?query=down&time=0"))[2] == '{"n": 2}'
            one.network.mend("llama.llm")
            assert (await one.get("http://llama.llm/api?query=up&time=9"))[2] == '{"n": 3}'

    run(test())


@PLAYED_OR_REAL
@pytest.mark.parametrize("mode", ["nan", "empty", "stale"])
def test_a_host_that_spoils_answers_streams_to_those_who_send_something(real: bool, mode: str) -> None:
    async def test() -> None:
        async with cable(real=real) as one:
            one.network.break_host("*", mode)
            async with one.ask(method="POST", data=b"x") as answer:
                for number in range(one.talker.pieces):
                    one.talker.may.release()
                    assert await answer.content.readexactly(len(piece(number))) == piece(number)

    run(test())


@pytest.mark.parametrize("mode", ["nan", "stale"])
def test_a_host_that_spoils_answers_can_be_gone_besides(mode: str) -> None:
    async def test() -> None:
        async with cable() as one:
            one.network.alias(POD, 8000, ("127.0.0.1", 1))
            one.network.break_host("*", mode)
            assert (await one.get("http://llama.llm/"))[:2] == (502, "refused")
            assert (await one.get("http://nobody.llm/"))[:2] == (502, "no such host")

    run(test())
