"""A program of a pod behind the real aiohttp stack on the loopback interface, on a clock that jumps.

The loop's time stands still while sockets have something to do, and jumps to the next timer otherwise: a minute of
an engine's life takes milliseconds, and durations are exact.
"""

from __future__ import annotations

import asyncio
import json
import selectors
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import yarl
from aiohttp import web

from chartproof.cluster.machines.server import Server, cut

Result = TypeVar("Result")

ADDRESS = "10.64.0.7"
#: Real seconds that a message on the loopback interface is given to arrive.
_ARRIVAL_SECONDS = 0.002
_LIMIT_SECONDS = 5.0


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        ready = super().select(_LIMIT_SECONDS if timeout is None else _ARRIVAL_SECONDS)
        if ready:
            return ready
        if timeout is None:
            message = "everything waits for something that will not happen"
            raise RuntimeError(message)
        self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """As asyncio.run, on the jumping clock, which begins at 0."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(coroutine)


def now() -> float:
    """Seconds of the jumping clock."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got. `broken`: the connection ended before the answer did; `times` are those of the events."""

    status: int
    text: str
    content_type: str = ""
    broken: bool = False
    times: tuple[float, ...] = ()

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def events(self) -> list[Any]:
        """The server-sent events without the last word."""
        lines = [line.removeprefix("data: ") for line in self.text.split("\n\n") if line]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    @property
    def whole(self) -> bool:
        """Whether the stream came to its end."""
        return not self.broken and self.text.endswith("data: [DONE]\n\n")


@dataclass(slots=True)
class Client:
    """Talks to one program."""

    session: aiohttp.ClientSession
    base: str
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        return await self.ask("POST", path, headers=headers, json=body)

    async def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        text, times, status, kind = "", [], 0, ""
        try:
            async with self.session.request(
                method, self.base + path, headers={**self.headers, **(headers or {})}, **more
            ) as response:
                status, kind = response.status, response.headers.get("Content-Type", "")
                async for piece in response.content.iter_any():
                    text += piece.decode()
                    times.append(now())
        except aiohttp.ClientError:
            return Answer(status, text, kind, broken=True, times=tuple(times))
        return Answer(status, text, kind, times=tuple(times))


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Client]:
    """Start the program, and let clients reach it as they would through the pod network."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if not server.listening or not server.ports:
            return cut(request)
        return await server.handle(request, yarl.URL(f"http://{ADDRESS}:{server.ports[0]}").join(request.rel_url))

    server.start()
    runner = web.ServerRunner(web.Server(handle, handler_cancellation=True))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=None)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield Client(session, f"http://{host}:{port}")
    finally:
        if not server.exit.done():
            server.kill()
        await runner.cleanup()
