from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from chartproof.cluster.machines.engine_api import WORD, KvAddress
from chartproof.cluster.machines.engine_server import EngineServer
from tests.cluster.machines.engines import LOAD_SECONDS, MODEL, SPEED, STREAMED, chat, completion, engine, settings
from tests.cluster.machines.loopback import Answer, Client, now, run, serving

LOADED = SPEED.real(LOAD_SECONDS) + 0.01


def loaded_and(test: Any, server: EngineServer | None = None, **changes: Any) -> None:
    """Run `test(server, client)` once the engine is loaded."""

    async def play() -> None:
        played = server or engine(**changes)
        async with serving(played) as client:
            await asyncio.sleep(LOADED + SPEED.real(3))
            await test(played, client)

    run(play())


def value(page: str, series: str) -> float:
    line = next(each for each in page.splitlines() if each.startswith(series))
    return float(line.rpartition(" ")[2])


# Loading and health.


@pytest.mark.parametrize(("kind", "version"), [("vllm", (0, 33, 0)), ("sglang", (0, 5, 23))])
def test_nobody_listens_before_the_model_is_loaded(kind: str, version: tuple[int, int, int]) -> None:
    async def play() -> None:
        server = engine(kind, version)
        async with serving(server) as client:
            await asyncio.sleep(SPEED.real(LOAD_SECONDS) - 0.05)
            assert not server.listening
            assert (await client.get("/health")).broken
            await asyncio.sleep(0.1)
            assert server.listening

    run(play())


def test_vllm_is_healthy_as_soon_as_it_listens() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        assert [(await client.get(path)).status for path in ("/health", "/ping")] == [200, 200]
        assert (await client.ask("POST", "/ping")).status == 200
        assert (await client.get("/version")).body == {"version": "0.33.0"}

    loaded_and(test)


def test_sglang_is_unhealthy_while_it_warms_up_and_its_health_check_takes_a_second() -> None:
    async def play() -> None:
        async with serving(engine("sglang", (0, 5, 23))) as client:
            await asyncio.sleep(LOADED)
            assert [(await client.get(path)).status for path in ("/health", "/ready")] == [503, 503]
            await asyncio.sleep(SPEED.real(2))
            assert (await client.get("/ready")).status == 200
            before = now()
            assert (await client.get("/health")).status == 200
            assert SPEED.simulated(now() - before) == pytest.approx(1, abs=0.1)

    run(play())


def test_ready_is_new_in_sglang() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        assert (await client.get("/ready")).status == 404

    loaded_and(test, kind="sglang", version=(0, 5, 9))


def test_an_engine_that_cannot_hold_its_context_ends_instead_of_serving() -> None:
    async def play() -> None:
        server = engine(failure="too long")
        async with serving(server):
            assert await server.exit == 1
            assert server.exit_reason == "Error"
            assert SPEED.simulated(now()) == pytest.approx(LOAD_SECONDS)

    run(play())


def test_an_engine_on_the_loopback_address_of_its_pod_has_no_ports() -> None:
    assert engine("sglang", (0, 5, 23), reachable=False).ports == ()


# Answers.


def test_a_completion_is_as_long_as_asked_for() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        answer = await client.post("/v1/completions", completion(100, 50))
        assert (answer.status, answer.content_type) == (200, "application/json; charset=utf-8")
        body = answer.body
        assert body["object"] == "text_completion"
        assert body["model"] == "llama"
        assert body["choices"][0]["text"] == WORD * 50
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"] == {
            "prompt_tokens": 100,
            "total_tokens": 150,
            "completion_tokens": 50,
            "prompt_tokens_details": None,
        }

    loaded_and(test)


def test_a_chat_of_open_length_stops_by_itself() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        body = (await client.post("/v1/chat/completions", chat("a" * 80))).body
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"]["role"] == "assistant"
        assert body["choices"][0]["finish_reason"] == "stop"
        # 80 characters are 20 tokens, and the template adds four.
        assert body["usage"]["prompt_tokens"] == 24

    loaded_and(test)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_chat_may_be_bounded_by_either_name(name: str) -> None:
    async def test(_: EngineServer, client: Client) -> None:
        body = (await client.post("/v1/chat/completions", {**chat(), name: 7})).body
        assert body["usage"]["completion_tokens"] == 7
        assert body["choices"][0]["finish_reason"] == "length"

    loaded_and(test)


def test_an_answer_takes_as_long_as_the_model_says() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        before = now()
        await client.post("/v1/completions", completion(1000, 100))
        # A prompt of 1000 tokens takes 0.1 s, and each further token a step of 0.02 s.
        assert SPEED.simulated(now() - before) == pytest.approx(0.1 + 99 * 0.0201, abs=0.5)

    loaded_and(test)


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_a_stream_has_its_first_token_at_once_then_few_pieces_and_a_clean_end(path: str) -> None:
    async def test(_: EngineServer, client: Client) -> None:
        body = completion(100, 500, **STREAMED) if path == "/v1/completions" else chat(max_tokens=500, **STREAMED)
        before = now()
        answer = await client.post(path, body)
        assert answer.whole
        assert answer.content_type.startswith("text/event-stream")
        *pieces, usage = answer.events
        assert usage["choices"] == []
        assert usage["usage"]["completion_tokens"] == 500
        first = next(each for each in pieces if text_of(each))
        assert text_of(first).count(WORD) < 50
        assert answer.times[0] - before < 0.1
        assert "".join(text_of(each) for each in pieces) == WORD * 500
        assert [each["choices"][0]["finish_reason"] for each in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert pieces[-1]["choices"][0]["finish_reason"] == "length"
        # 500 tokens are about 10 s, in 0.68 real ones: a piece every quarter of one.
        assert len(pieces) <= 6
        assert all(later - earlier >= 0.2 for earlier, later in zip(answer.times, answer.times[1:-2], strict=False))

    loaded_and(test)


def text_of(event: dict[str, Any]) -> str:
    choice = event["choices"][0]
    return str(choice["text"] if "text" in choice else choice["delta"].get("content", ""))


def test_usage_comes_only_when_asked_for() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        answer = await client.post("/v1/completions", completion(stream=True))
        assert answer.whole
        assert not any("usage" in each for each in answer.events)
        options = {"include_usage": True, "continuous_usage_stats": True}
        told = (await client.post("/v1/completions", completion(stream=True, stream_options=options))).events
        assert all(each["usage"]["prompt_tokens"] == 100 for each in told)

    loaded_and(test)


def test_sglang_generates() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        asked = {"text": "abcd" * 10, "sampling_params": {"max_new_tokens": 5}}
        body = (await client.post("/generate", asked)).body
        assert body["text"] == WORD * 5
        assert body["meta_info"]["prompt_tokens"] == 10
        assert body["meta_info"]["finish_reason"] == {"type": "length", "length": 5}
        streamed = await client.post("/generate", {"input_ids": [1, 2], "stream": True, "sampling_params": {}})
        assert streamed.whole
        assert streamed.events[-1]["meta_info"]["completion_tokens"] == 128
        assert streamed.events[-1]["text"] == WORD * 128
        assert (await client.get("/get_server_info")).body["context_length"] == 8192
        # It serves whatever model is named.
        assert (await client.post("/v1/completions", {**completion(), "model": "other"})).body["model"] == "other"

    loaded_and(test, kind="sglang", version=(0, 5, 23))


# Refusals.


def refusal(answer: Answer) -> tuple[int, str, str]:
    error = answer.body["error"]
    assert error["code"] == answer.status
    return answer.status, error["type"], error["message"]


def test_an_unknown_model_is_not_found() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        answer = await client.post("/v1/completions", {**completion(), "model": "gpt"})
        status, kind, message = refusal(answer)
        assert (status, kind) == (404, "NotFoundError")
        assert message == "The model `gpt` does not exist. Valid aliases: llama, alias."
        assert (await client.post("/v1/completions", {**completion(), "model": "alias"})).status == 200

    loaded_and(test)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ((0, 11, 1), "your request has 9000 input tokens"),
        ((0, 20, 2), "you requested 50 output tokens and your prompt contains 9000 input tokens"),
        ((0, 33, 0), "your prompt contains 9000 input tokens, which exceeds this limit even without"),
    ],
)
def test_a_prompt_beyond_the_context_is_refused_in_the_words_of_the_version(
    version: tuple[int, int, int], words: str
) -> None:
    async def test(_: EngineServer, client: Client) -> None:
        status, kind, message = refusal(await client.post("/v1/completions", completion(9000)))
        assert (status, kind) == (400, "BadRequestError")
        assert message.startswith("This model's maximum context length is 8192 tokens. However, ")
        assert words in message

    loaded_and(test, version=version)


@pytest.mark.parametrize(("version", "status"), [((0, 31, 0), 400), ((0, 32, 0), 200)])
def test_too_long_an_answer_is_cut_from_0_32_on_and_refused_before(version: tuple[int, int, int], status: int) -> None:
    async def test(_: EngineServer, client: Client) -> None:
        answer = await client.post("/v1/completions", completion(8000, 1000))
        assert answer.status == status
        if status == 200:
            assert answer.body["usage"]["completion_tokens"] == 192

    loaded_and(test, version=version)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "JSON decode error"),
        (b"[]", "valid dictionary"),
        (b'{"model": "llama"}', "Field required"),
        (b'{"model": "llama", "prompt": "a", "max_tokens": "x"}', "should be a valid integer"),
        (b'{"model": "llama", "prompt": "a", "max_tokens": 0}', "must be at least 1"),
        (b'{"model": "llama", "prompt": "a", "n": 2}', "not played"),
        (b'{"model": "llama", "prompt": ["a", "b"]}', "not played"),
    ],
)
def test_a_bad_body_is_refused(body: bytes, words: str) -> None:
    async def test(_: EngineServer, client: Client) -> None:
        told = {"Content-Type": "application/json"}
        status, _kind, message = refusal(await client.ask("POST", "/v1/completions", data=body, headers=told))
        assert status == 400
        assert words in message

    loaded_and(test)


def test_other_paths_methods_and_media_types() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        assert (await client.get("/nothing")).body == {"detail": "Not Found"}
        assert (await client.get("/v1/completions")).status == 405
        assert (await client.ask("POST", "/v1/completions", data=b"{}")).status == 400
        assert [each["id"] for each in (await client.get("/v1/models")).body["data"]] == ["llama", "alias"]

    loaded_and(test)


def test_a_key_guards_the_api_but_not_health_and_metrics() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        assert (await client.get("/v1/models")).body == {"error": "Unauthorized"}
        assert (await client.post("/v1/completions", completion(), Authorization="Bearer wrong")).status == 401
        assert (await client.post("/v1/completions", completion(), Authorization="Bearer right")).status == 200
        assert [(await client.get(path)).status for path in ("/health", "/metrics", "/version")] == [200, 200, 200]

    loaded_and(test, key_needed=True, api_keys=("right",))


def test_sglangs_key_guards_all_but_health_and_metrics() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        assert (await client.get("/server_info")).status == 401
        assert (await client.get("/health")).status == 200

    loaded_and(test, kind="sglang", version=(0, 5, 23), key_needed=True, api_keys=("right",))


def test_a_key_that_nobody_knows_here_may_be_any() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        assert (await client.get("/v1/models")).status == 401
        assert (await client.get("/v1/models", Authorization="Bearer anything")).status == 200

    loaded_and(test, key_needed=True)


def test_vllms_bound_counts_what_runs_too() -> None:
    async def test(server: EngineServer, client: Client) -> None:
        asked = [asyncio.ensure_future(client.post("/v1/completions", completion(10, 500))) for _ in range(5)]
        answers = await asyncio.gather(*asked)
        assert sorted(each.status for each in answers) == [200, 200, 200, 503, 503]
        refused = next(each for each in answers if each.status == 503)
        assert refusal(refused)[1] == "Service Unavailable"
        page = (await client.get("/metrics")).text
        assert value(page, 'vllm:admission_rejections_total{model_name="llama",reason="max_num_queued_reqs"}') == 2
        assert value(page, 'http_requests_total{method="POST",status="5xx",handler="/v1/completions"}') == 2

    loaded_and(test, request_limit=3)


def test_sglangs_bound_counts_what_waits() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        first = [asyncio.ensure_future(client.post("/v1/completions", completion(10, 500))) for _ in range(5)]
        await asyncio.sleep(0.1)
        # All five run: nobody waits, and a sixth is welcome.
        assert (await client.post("/v1/completions", completion(10, 5))).status == 200
        assert {each.status for each in await asyncio.gather(*first)} == {200}

    loaded_and(test, kind="sglang", version=(0, 5, 23), request_limit=5)


# The end.


@pytest.mark.parametrize("version", [(0, 33, 0), (0, 17, 1)])
@pytest.mark.parametrize("stream", [True, False])
def test_without_a_drain_sigterm_breaks_what_runs(version: tuple[int, int, int], stream: bool) -> None:
    async def test(server: EngineServer, client: Client) -> None:
        asked = asyncio.ensure_future(client.post("/v1/completions", completion(10, 5000, stream=stream)))
        await asyncio.sleep(1)
        server.terminate()
        answer = await asked
        assert answer.broken
        assert not answer.whole
        assert not server.listening
        assert await server.exit == 0
        assert server.exit_reason == "Completed"

    loaded_and(test, version=version)


def test_a_drain_loses_nothing() -> None:
    async def test(server: EngineServer, client: Client) -> None:
        asked = [
            asyncio.ensure_future(client.post("/v1/completions", completion(10, 200 + 10 * i, stream=i % 2 == 0)))
            for i in range(100)
        ]
        await asyncio.sleep(0.3)
        assert server.waiting
        server.terminate()
        answers = await asyncio.gather(*asked)
        assert all(each.status == 200 and not each.broken for each in answers)
        assert all(each.whole for each in answers[::2])
        assert not server.exit.done()
        last = now()
        assert await server.exit == 0
        assert SPEED.simulated(now() - last) == pytest.approx(5, abs=1)

    loaded_and(test, drain_seconds=300.0)


def test_a_drain_is_cut_at_its_end() -> None:
    async def test(server: EngineServer, client: Client) -> None:
        asked = asyncio.ensure_future(client.post("/v1/completions", completion(10, 8000, stream=True)))
        await asyncio.sleep(0.2)
        before = now()
        server.terminate()
        answer = await asked
        assert answer.broken
        assert SPEED.simulated(now() - before) == pytest.approx(30, abs=0.5)
        assert await server.exit == 0

    loaded_and(test, drain_seconds=30.0)


@pytest.mark.parametrize(
    ("version", "prompt", "status"),
    [((0, 18, 1), "text", 200), ((0, 19, 1), "text", 500), ((0, 33, 0), "text", 500), ((0, 33, 0), [1, 2], 200)],
)
def test_new_requests_of_a_draining_vllm(version: tuple[int, int, int], prompt: Any, status: int) -> None:
    async def test(server: EngineServer, client: Client) -> None:
        running = asyncio.ensure_future(client.post("/v1/completions", completion(10, 2000)))
        await asyncio.sleep(0.2)
        server.terminate()
        assert (await client.get("/health")).status == 200
        answer = await client.post("/v1/completions", {**completion(), "prompt": prompt})
        assert answer.status == status
        if status == 200:
            assert answer.body["choices"][0]["finish_reason"] == "abort"
            assert answer.body["usage"]["completion_tokens"] == 0
        assert (await running).status == 200

    loaded_and(test, version=version, drain_seconds=300.0)


def test_sglang_drains_without_a_limit_and_says_so() -> None:
    async def test(server: EngineServer, client: Client) -> None:
        running = asyncio.ensure_future(client.post("/v1/completions", completion(10, 2000, stream=True)))
        await asyncio.sleep(0.2)
        server.terminate()
        assert [(await client.get(path)).status for path in ("/health", "/ready")] == [503, 503]
        assert (await client.post("/v1/completions", completion(10, 5))).status == 200
        assert (await running).whole
        assert await server.exit == 0

    loaded_and(test, kind="sglang", version=(0, 5, 23))


def test_sigterm_while_loading_ends_as_ctrl_c_does() -> None:
    async def play() -> None:
        server = engine()
        async with serving(server):
            server.terminate()
            assert await server.exit == 130
            assert now() == 0

    run(play())


def test_kill_breaks_everything_at_once() -> None:
    async def test(server: EngineServer, client: Client) -> None:
        asked = [
            asyncio.ensure_future(client.post("/v1/completions", completion(10, 5000, stream=i % 2 == 0)))
            for i in range(20)
        ]
        await asyncio.sleep(0.5)
        server.kill()
        assert all(each.broken for each in await asyncio.gather(*asked))
        assert (await server.exit, server.exit_reason) == (137, "Error")

    loaded_and(test)


def test_out_of_memory_while_loading() -> None:
    async def play() -> None:
        server = engine()
        async with serving(server):
            await asyncio.sleep(1)
            server.crash(137, "OOMKilled")
            assert (await server.exit, server.exit_reason) == (137, "OOMKilled")

    run(play())


def test_a_dead_engine_is_unhealthy_answers_errors_and_ends() -> None:
    async def test(server: EngineServer, client: Client) -> None:
        running = asyncio.ensure_future(client.post("/v1/completions", completion(10, 2000, stream=True)))
        await asyncio.sleep(0.2)
        server.die()
        assert (await client.get("/health")).status == 503
        assert (await client.post("/v1/completions", completion())).status == 500
        assert "error" in (await running).events[-1]
        assert await server.exit == 0

    loaded_and(test)


def test_a_hung_engine_is_healthy_and_its_counters_stand() -> None:
    async def test(server: EngineServer, client: Client) -> None:
        asked = asyncio.ensure_future(client.post("/v1/completions", completion(10, 500)))
        await asyncio.sleep(0.2)
        server.hang()
        before = (await client.get("/metrics")).text
        new = asyncio.ensure_future(client.post("/v1/completions", completion(10, 5)))
        await asyncio.sleep(10)
        after = (await client.get("/metrics")).text
        assert (await client.get("/health")).status == 200
        for series in (
            "vllm:num_requests_running{",
            "vllm:iteration_tokens_total_count{",
            "vllm:generation_tokens_total{",
        ):
            assert value(before, series) == value(after, series) > 0
        assert not asked.done()
        assert not new.done()
        server.unhang()
        assert [(await each).status for each in (asked, new)] == [200, 200]
        page = (await client.get("/metrics")).text
        # Who waited through it has waited.
        assert value(page, "vllm:e2e_request_latency_seconds_sum{") > 2 * 150

    loaded_and(test)


def test_a_hung_sglang_turns_unhealthy() -> None:
    async def test(server: EngineServer, client: Client) -> None:
        server.hang()
        before = now()
        assert (await client.get("/health")).status == 503
        assert SPEED.simulated(now() - before) == pytest.approx(20, abs=1)

    loaded_and(test, kind="sglang", version=(0, 5, 23))


def test_the_engine_stops_working_for_a_client_that_went_away() -> None:
    async def test(server: EngineServer, client: Client) -> None:
        asked = [
            asyncio.ensure_future(client.post("/v1/completions", completion(100, 5000, stream=i % 2 == 0)))
            for i in range(4)
        ]
        await asyncio.sleep(0.5)
        assert server.running == 4
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0.5)
        assert (server.running, server.kv_usage) == (0, 0)

    loaded_and(test)


def test_gpus_are_held_from_the_start_to_the_end() -> None:
    held: list[str] = []

    def occupy(_: EngineServer) -> Any:
        held.append("taken")
        return lambda: held.append("given back")

    async def play() -> None:
        server = EngineServer(settings(), SPEED, occupy=occupy)
        async with serving(server):
            assert held == ["taken"]
            assert server.memory_share == 0
            await asyncio.sleep(SPEED.real(LOAD_SECONDS / 2))
            assert server.memory_share == pytest.approx(0.45)
            server.kill()
            assert held == ["taken", "given back"]

    run(play())


def test_the_model_is_as_fast_as_the_tests_believe() -> None:
    assert MODEL.step_seconds(1, 100) == pytest.approx(0.0201, abs=1e-4)


# KV caches from replica to replica.

KV_ADDRESS = KvAddress("10.64.0.7", 5600, 2)
PREFILL: dict[str, Any] = {"do_remote_decode": True, "do_remote_prefill": False, "remote_host": None}


def transferring(address: KvAddress | None = KV_ADDRESS) -> EngineServer:
    return engine(terms=replace(settings().terms, kv_address=address))


def test_a_prompt_that_another_replica_goes_on_with_tells_where_its_kv_cache_lies() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        answer = await client.post("/v1/completions", completion(2000, 1, kv_transfer_params=PREFILL))
        told = answer.body["kv_transfer_params"]
        assert (told["do_remote_prefill"], told["do_remote_decode"]) == (True, False)
        assert (told["remote_host"], told["remote_port"], told["tp_size"]) == ("10.64.0.7", 5600, 2)
        plain = await client.post("/v1/completions", completion(2000, 1))
        assert "kv_transfer_params" not in plain.body

    loaded_and(test, transferring())


def test_a_prompt_that_another_replica_has_computed_costs_hardly_anything() -> None:
    received = {"do_remote_prefill": True, "do_remote_decode": False, "remote_host": "10.64.0.9", "remote_port": 5600}

    async def test(server: EngineServer, client: Client) -> None:
        async def busy_seconds(**more: Any) -> float:
            before = server.busy_seconds
            assert (await client.post("/v1/completions", completion(4000, 1, **more))).status == 200
            return server.busy_seconds - before

        assert await busy_seconds() == pytest.approx(4000 * MODEL.per_prompt_token, rel=0.01)
        assert await busy_seconds(kv_transfer_params=received) == pytest.approx(MODEL.step_seconds(1, 0), rel=0.1)
        assert server._played
        assert server._played.engine.cached_tokens_total == 0

    loaded_and(test, transferring())


@pytest.mark.parametrize("host", ["localhost", None])
def test_a_kv_cache_that_is_said_to_lie_on_the_own_machine_is_not_found(host: str | None) -> None:
    received = {"do_remote_prefill": True, "remote_host": host, "remote_port": 5600}

    async def test(_: EngineServer, client: Client) -> None:
        answer = await client.post("/v1/completions", completion(kv_transfer_params=received))
        assert answer.status == 500
        assert "could not be loaded" in answer.body["error"]["message"]

    loaded_and(test, transferring())


def test_an_engine_without_a_connector_ignores_what_is_said_of_kv_caches() -> None:
    async def test(_: EngineServer, client: Client) -> None:
        answer = await client.post("/v1/completions", completion(100, 1, kv_transfer_params=PREFILL))
        assert answer.status == 200
        assert "kv_transfer_params" not in answer.body

    loaded_and(test, transferring(None))
