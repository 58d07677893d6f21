"""A server that speaks OpenAI's API, well or badly, for tests of whoever asks it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any, TypeVar

from aiohttp import web

from chartproof.cluster.machines.listener import Listener
from chartproof.cluster.machines.server import cut

Answer = TypeVar("Answer")

PATIENCE_SECONDS = 20


def run(test: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a test's coroutine; one that hangs fails."""
    return asyncio.run(asyncio.wait_for(test, PATIENCE_SECONDS))


async def until(holds: Callable[[], bool]) -> None:
    """Let everything else go on until something holds."""
    while not holds():  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)


def event(text: str = "", *, reason: str | None = None, chat: bool = False, **more: Any) -> bytes:
    """One event of a stream."""
    choice: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
    body = {"choices": [{"index": 0, **choice, "finish_reason": reason}], **more}
    return f"data: {json.dumps(body)}\n\n".encode()


DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7}}\n\n'
WHOLE = (event("one"), event("two", reason="length"), USAGE, DONE)


@dataclass
class Engine:
    """Says `pieces` to everybody, or what `answer` makes of the request."""

    pieces: tuple[bytes, ...] = WHOLE
    breaks: bool = False
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]] | None = None
    asked: list[tuple[str, Mapping[str, str], dict[str, Any]]] = field(default_factory=list)
    gone: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append((request.path, request.headers, json.loads(await request.read())))
        try:
            return await self._speak(request) if self.answer is None else await self.answer(request)
        except asyncio.CancelledError:
            self.gone += 1
            raise

    async def _speak(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=self.status, headers=self.headers)
        await response.prepare(request)
        for each in self.pieces:
            await response.write(each)
        if self.breaks:
            return cut(request)
        await response.write_eof()
        return response


@asynccontextmanager
async def serving(engine: Engine) -> AsyncIterator[Engine]:
    """The engine on a loopback port."""
    listener = Listener(engine.handle)
    await listener.start(0)
    engine.port = listener.port
    try:
        yield engine
    finally:
        await listener.stop()


@contextmanager
def serving_beside(engine: Engine) -> Iterator[Engine]:
    """The engine on a loopback port, in a thread of its own."""
    ready, loop = Event(), asyncio.new_event_loop()

    async def serve() -> None:
        async with serving(engine):
            ready.set()
            await stop.wait()

    stop = asyncio.Event()
    thread = Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    ready.wait()
    try:
        yield engine
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
