from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from chartproof.cluster.machines import engine_api
from chartproof.cluster.machines.endpoints import Endpoints
from chartproof.cluster.machines.network import Network
from chartproof.cluster.speed import Speed
from chartproof.errors import UsageError
from chartproof.load import client as module
from chartproof.load.client import Client, Clock, Target
from chartproof.load.records import Record
from chartproof.simulate.traffic import Request
from tests.load.engine import DONE, USAGE, WHOLE, Engine, event, run, serving

REQUEST = Request(0.25, 5, 7)


async def ask(url: str, *, speed: float = 1.0, request: Request = REQUEST, **target: Any) -> Record:
    clock = Clock(Speed(speed), asyncio.get_running_loop().time())
    async with Client(Target(url, "llama", **target), clock) as client:
        return await client.send(3, request)


def asked(engine: Engine, **given: Any) -> Record:
    async def test() -> Record:
        async with serving(engine):
            return await ask(engine.url, **given)

    return run(test())


def test_a_whole_answer_is_ok() -> None:
    found = asked(Engine())
    assert (found.outcome, found.detail, found.lost) == ("ok", "", False)
    assert (found.index, found.due) == (3, 0.25)
    assert (found.prompt_tokens, found.answer_tokens, found.received_tokens) == (5, 7, 7)
    assert found.first_token is not None
    assert 0 <= found.sent <= found.first_token <= found.done


def test_a_prompt_is_so_many_token_ids_and_the_answer_as_long_as_asked() -> None:
    engine = Engine()
    asked(engine, request=Request(0, 70_000, 7), headers={"Authorization": "Bearer key"})
    path, headers, body = engine.asked[0]
    assert path == "/v1/completions"
    assert headers["Authorization"] == "Bearer key"
    assert len(body["prompt"]) == 70_000
    assert len(set(body["prompt"])) > 1000
    assert (body["model"], body["max_tokens"], body["stream"], body["ignore_eos"]) == ("llama", 7, True, True)


def test_two_prompts_differ() -> None:
    async def test() -> None:
        async with serving(Engine()) as engine:
            clock = Clock(Speed(1), 0)
            async with Client(Target(engine.url, "llama"), clock) as client:
                await client.send(0, REQUEST)
                await client.send(1, REQUEST)
            first, second = (each[2]["prompt"] for each in engine.asked)
            assert first != second

    run(test())


@pytest.mark.parametrize("tokens", [5, 1000, 100_000])
def test_a_chat_has_about_as_many_tokens_of_text(tokens: int) -> None:
    pieces = (event("", chat=True), event("one", chat=True), event("", reason="stop", chat=True), DONE)
    engine = Engine(pieces)
    found = asked(engine, chat=True, ignore_eos=False, request=Request(0, tokens, 7))
    path, _, body = engine.asked[0]
    assert (found.outcome, found.received_tokens) == ("ok", 1)
    assert path == "/v1/chat/completions"
    assert "ignore_eos" not in body
    text = body["messages"][0]["content"]
    assert engine_api.text_tokens(text) + engine_api.MESSAGE_TOKENS == tokens


def test_rules_of_thumb_are_those_of_the_played_engine() -> None:
    assert module.CHARACTERS_PER_TOKEN == engine_api.CHARACTERS_PER_TOKEN
    assert module.MESSAGE_TOKENS == engine_api.MESSAGE_TOKENS


ERROR = b'data: {"error":{"message":"EngineDeadError","code":500}}\n\n'


@pytest.mark.parametrize(
    ("pieces", "outcome", "detail"),
    [
        ((event("one"),), "truncated", "[DONE]"),
        ((), "truncated", "[DONE]"),
        ((event("one", reason="length"),), "truncated", "[DONE]"),
        ((event("one"), DONE), "truncated", "finish_reason"),
        ((b'{"choices":[{"text":"x","finish_reason":"stop"}]}',), "truncated", "[DONE]"),
        ((event("one"), event("", reason="abort"), DONE), "aborted", "finish_reason abort"),
        ((event("one"), ERROR, DONE), "http-500", "EngineDeadError"),
        ((b'data: {"object":"error","message":"what","code":400}\n\n', DONE), "http-400", "what"),
        ((b'data: {"error":"what"}\n\n', DONE), "aborted", "what"),
        ((b"data: nonsense\n\n", DONE), "aborted", "no JSON"),
    ],
)
def test_a_stream_that_is_not_whole_is_lost(pieces: tuple[bytes, ...], outcome: str, detail: str) -> None:
    found = asked(Engine(pieces))
    assert found.outcome == outcome
    assert detail in found.detail
    assert found.lost


@pytest.mark.parametrize("pieces", [(), (event("one"),), WHOLE])
def test_a_connection_that_breaks_is_an_abort(pieces: tuple[bytes, ...]) -> None:
    found = asked(Engine(pieces, breaks=True))
    assert found.outcome == "aborted"
    assert found.detail
    assert (found.first_token is None) == (not pieces)


@pytest.mark.parametrize(
    ("headers", "body", "outcome", "detail"),
    [
        ({}, b'{"error":{"message":"busy"}}', "http-503", "busy"),
        ({}, b"<html>bad gateway</html>", "http-503", "<html>"),
        ({"X-Chartproof-Error": "refused"}, b"", "refused", "refused"),
        ({"X-Chartproof-Error": "no such host"}, b"", "refused", "no such host"),
    ],
)
def test_an_error_is_told_with_its_words(headers: dict[str, str], body: bytes, outcome: str, detail: str) -> None:
    found = asked(Engine((body,), status=503, headers=headers))
    assert found.outcome == outcome
    assert detail in found.detail


def test_nobody_there_is_a_refusal() -> None:
    assert run(ask("http://127.0.0.1:1")).outcome == "refused"
    assert run(ask("http://llama.llm", proxy="http://127.0.0.1:1")).outcome == "refused"


def test_a_client_gives_up_after_its_time_in_simulated_seconds() -> None:
    async def wait(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(3600)
        raise AssertionError

    engine = Engine(answer=wait)
    found = asked(engine, speed=1000, timeout_seconds=100)
    assert found.outcome == "timeout"
    assert found.end_to_end >= 100
    assert len(engine.asked) == 1


def test_pieces_may_be_cut_anywhere() -> None:
    stream = b"".join((event("e\u0301\u4e2d"), event("two", reason="stop"), USAGE, DONE)).replace(b"\n\n", b"\r\n\r\n")

    async def crumbs(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(len(stream)):
            await response.write(stream[number : number + 1])
            await asyncio.sleep(0)
        return response

    found = asked(Engine(answer=crumbs))
    assert (found.outcome, found.received_tokens) == ("ok", 7)


def test_requests_go_through_the_pod_network() -> None:
    async def test() -> None:
        async with serving(Engine()) as engine:
            network = Network(Endpoints())
            network.alias("llama.llm.svc", 80, ("127.0.0.1", engine.port))
            await network.start(0)
            proxy = f"http://127.0.0.1:{network.port}"
            assert (await ask("http://llama.llm.svc", proxy=proxy)).outcome == "ok"
            assert (await ask("http://other.llm.svc", proxy=proxy)).detail == "no such host"
            await network.stop()

    run(test())


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://a", "/v1/completions"),
        ("http://a/", "/v1/completions"),
        ("https://a/v1/", "/v1/completions"),
        ("http://a/llm/llama", "/llm/llama/v1/completions"),
        ("http://a/v2/completions", "/v2/completions"),
    ],
)
def test_the_path_is_added_where_it_is_missing(url: str, path: str) -> None:
    assert Target(url, "llama").address().path == path


@pytest.mark.parametrize("url", ["", "a", "ftp://a", "http://", "http://a:b"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        Target(url, "llama").address()
