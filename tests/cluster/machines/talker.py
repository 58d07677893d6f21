"""A program that talks piece by piece, and the objects of Services: what tests of the network and front door share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yarl
from aiohttp import web

from chartproof.cluster.machines.listener import Listener
from chartproof.cluster.machines.server import cut

Body = Mapping[str, Any]
Answer = TypeVar("Answer")

#: Real seconds after which a test has hung.
PATIENCE_SECONDS = 20


def run(test: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a test's coroutine; one that hangs fails."""
    return asyncio.run(asyncio.wait_for(test, PATIENCE_SECONDS))


async def until(holds: Callable[[], bool]) -> None:
    """Let everything else go on until something holds."""
    while not holds():  # noqa: ASYNC110 - nothing tells of it, and nothing else runs
        await asyncio.sleep(0)


def piece(number: int) -> bytes:
    """One piece of a talker's answer."""
    return b"data: %d\n\n" % number


@dataclass
class Talker:
    """Says one piece each time it `may` speak; tells who asked, and who went away before the end."""

    pieces: int = 3
    ports: tuple[int, ...] = (8000,)
    listening: bool = True
    exit_reason: str = ""
    status: int = 200
    #: Breaks off after so many pieces.
    breaks_after: int | None = None
    asked: list[tuple[str, yarl.URL, bytes]] = field(default_factory=list)
    may: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    page: str = "up 1\n"

    def start(self) -> None:
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def handle(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        self.asked.append((request.method, url, await request.read()))
        if url.path != "/stream" and not url.path.startswith("/v1/"):
            return web.Response(status=self.status, text=self.page)
        response = web.StreamResponse(status=self.status, headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            for number in range(self.pieces):
                await self.may.acquire()
                if number == self.breaks_after:
                    return cut(request)
                await response.write(piece(number))
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise
        return response

    def terminate(self) -> None:
        self.kill()

    def kill(self) -> None:
        self.listening = False
        if not self._exit.done():
            self._exit.set_result(137)

    def crash(self, code: int, reason: str) -> None:
        raise NotImplementedError

    def hang(self) -> None:
        pass

    def unhang(self) -> None:
        pass

    @property
    def exit(self) -> asyncio.Future[int]:
        return self._exit


@asynccontextmanager
async def process(talker: Talker) -> AsyncIterator[int]:
    """The talker as a program of its own that listens on a loopback port."""
    listener = Listener(lambda request: talker.handle(request, request.url))
    await listener.start(0)
    try:
        yield listener.port
    finally:
        await listener.stop()


def started(**given: Any) -> Talker:
    """A talker that runs."""
    talker = Talker(**given)
    talker.start()
    return talker


def service(name: str = "llama", *, port: int = 80, target: Any = "http", **spec: Any) -> dict[str, Any]:
    """A Service of the namespace `llm`."""
    return {
        "metadata": {"name": name, "namespace": "llm"},
        "spec": {
            "clusterIP": "10.96.0.10",
            "selector": {"app": name},
            "ports": [{"name": "http", "port": port, "targetPort": target, "protocol": "TCP"}],
            **spec,
        },
    }


def endpoint(address: str, **conditions: bool) -> dict[str, Any]:
    """An endpoint, ready unless said otherwise."""
    return {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False, **conditions},
    }


def leaving(address: str) -> dict[str, Any]:
    """An endpoint that still serves while it terminates."""
    return endpoint(address, ready=False, terminating=True)


def endpoint_slice(
    *endpoints: Body, of: str = "llama", name: str = "llama-abc", port: int | None = 8000, **more: Any
) -> dict[str, Any]:
    """An EndpointSlice of a Service."""
    return {
        "metadata": {"name": name, "namespace": "llm", "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": list(endpoints),
        **more,
    }
