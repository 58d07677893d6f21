"""What the scripts of files/operations talk to, on loopback: a played engine, and others that obey."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yarl
from aiohttp import web

from chartproof.cluster.machines.engine_server import EngineServer, Settings
from chartproof.cluster.machines.listener import Listener
from chartproof.cluster.speed import Speed

Json = Any


@contextmanager
def played(settings: Settings, *, speed: float = 300) -> Iterator[str]:
    """The URL of a played engine, once it has loaded."""
    ready, loop = Event(), asyncio.new_event_loop()
    stop = asyncio.Event()
    found: list[int] = []

    async def serve() -> None:
        server = EngineServer(settings, Speed(speed))
        server.start()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            try:
                return await server.handle(request, yarl.URL(f"http://127.0.0.1:{settings.port}{request.path_qs}"))
            except ConnectionRefusedError:
                return web.Response(status=502)

        listener = Listener(handle)
        await listener.start(0)
        found.append(listener.port)
        while not server.listening:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        ready.set()
        await stop.wait()
        await listener.stop()
        server.kill()

    thread = Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    assert ready.wait(30)
    try:
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@dataclass
class Told:
    """A server that answers by path: a status and JSON. `asked` has every request's method, path, headers and body."""

    answers: dict[str, tuple[int, Json]] = field(default_factory=dict)
    queries: dict[str, list[float]] = field(default_factory=dict)
    asked: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str) -> tuple[int, Json]:
        """What is said to a path; Prometheus' API is spoken for `queries`, of which the first part that fits counts."""
        parts = urlsplit(path)
        if parts.path == "/api/v1/query":
            query = parse_qs(parts.query)["query"][0]
            values = next((each for known, each in self.queries.items() if known in query), [0.0])
            result = [{"metric": {}, "value": [0, str(each)]} for each in values]
            return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}
        return self.answers.get(parts.path, (404, {"message": "not found"}))


@contextmanager
def telling(told: Told) -> Iterator[Told]:
    """It on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.asked.append((self.command, self.path, dict(self.headers), body))
            status, content = told.answer(self.path)
            text = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815 - so it must be called

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
