"""The real LiteLLM with the variables of the chart: idle connections are left before the other side ends them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import yaml

from chartproof import toolchain
from chartproof.cluster.ports import LOOPBACK, free_ports
from tests import presets

pytestmark = pytest.mark.slow

KEY = "sk-1"
START_SECONDS = 240.0
"""For LiteLLM to start, twice, on a slow machine."""
IDLE_SECONDS = 4.0
"""What an engine ends a connection after, less what may pass until its client hears of it; uvicorn's limit is 5 s."""
PAUSE_SECONDS = 6.0
"""Longer than uvicorn keeps a connection unless it is told."""

ANSWER = json.dumps(
    {
        "id": "played",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers, and ends a connection that was idle just when the next request comes on it."""
    loop = asyncio.get_running_loop()
    answered = loop.time()
    try:
        while loop.time() - answered < IDLE_SECONDS:
            head = await reader.readuntil(b"\r\n\r\n")
            if loop.time() - answered >= IDLE_SECONDS:
                break
            length = next(each for each in head.lower().split(b"\r\n") if each.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(ANSWER), ANSWER)
            )
            answered = loop.time()
    except (asyncio.IncompleteReadError, asyncio.CancelledError):
        # Its client, or the test, has gone.
        pass
    finally:
        writer.close()


def variables() -> dict[str, str]:
    """What the chart sets for LiteLLM, but what comes from Secrets."""
    release = presets.render("llama-3.1-8b-g6e-gateway")
    (container,) = (
        container
        for document in release.documents
        if document.kind == "Deployment" and document.name.endswith("-gateway")
        for container in document.get("spec", "template", "spec", "containers")
    )
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


@asynccontextmanager
async def gateway(directory: Path, target: int) -> AsyncIterator[str]:
    """LiteLLM in front of one target; its URL."""
    (port,) = free_ports(1)
    config = directory / "config.yaml"
    model = {"model": "openai/m", "api_base": f"http://{LOOPBACK}:{target}/v1", "api_key": "none"}
    config.write_text(
        yaml.safe_dump(
            {
                "model_list": [{"model_name": "m", "litellm_params": model}],
                "litellm_settings": {"num_retries": 0},
                "router_settings": {"num_retries": 0, "disable_cooldowns": True},
            }
        ),
        encoding="utf-8",
    )
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            toolchain.resolve("litellm"),
            *("--config", config, "--host", LOOPBACK, "--port", str(port)),
            env={**variables(), "PATH": os.defpath, "LITELLM_MASTER_KEY": KEY, "HOME": str(directory)},
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://{LOOPBACK}:{port}"
        finally:
            process.terminate()
            await process.wait()


async def started(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until it answers."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            try:
                async with session.get(f"{url}/health/liveliness") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.2)


def test_idle_connections_are_left_before_an_engine_and_kept_longer_than_a_load_balancer(tmp_path: Path) -> None:
    async def test() -> None:
        connections = 0
        trace = aiohttp.TraceConfig()

        async def connected(*_: object) -> None:
            nonlocal connections
            connections += 1

        trace.on_connection_create_end.append(connected)
        async with (
            await asyncio.start_server(engine, LOOPBACK, 0) as server,
            gateway(tmp_path, server.sockets[0].getsockname()[1]) as url,
            # Like a load balancer, it leaves no connection.
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=600), trace_configs=[trace]
            ) as session,
        ):
            await started(session, url)
            connections = 0
            body = {"model": "m", "messages": [{"role": "user", "content": "Well?"}]}
            headers = {"Authorization": f"Bearer {KEY}"}
            for pause in (PAUSE_SECONDS, PAUSE_SECONDS, 0.0):
                async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
                    assert (answer.status, "Yes." in await answer.text()) == (200, True)
                await asyncio.sleep(pause)
            assert connections <= 1

    asyncio.run(test())
