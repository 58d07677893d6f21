"""Played provider of a model, on loopback: OpenAI's chat API. Stands for Bedrock or another region."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

MODEL = "played-provider"
_WORDS = ("Answered", " elsewhere", ".")


class Provider:
    """Answers every chat with a few words, and counts."""

    def __init__(self) -> None:
        self.answered = 0
        self._runner: web.ServerRunner | None = None

    async def start(self) -> int:
        """Listen; the port."""
        self._runner = web.ServerRunner(web.Server(self._answer))
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = json.loads(await request.read())
        assert asked["model"] == MODEL
        assert asked["stream"]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in _WORDS:
            await response.write(_event({"content": word}, None))
        await response.write(_event({}, "stop"))
        await response.write(b"data: [DONE]\n\n")
        self.answered += 1
        return response


def _event(delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "played", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()
