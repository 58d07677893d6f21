"""An HTTP server on a loopback port that hands on what it gets: common to the pod network and the front door."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from chartproof.cluster.ports import LOOPBACK
from chartproof.open_files import allow_many_connections

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

#: Bytes of a request's body: a prompt that fills the longest context is far shorter.
LONGEST_BODY = 64 * 2**20
#: Bytes of a request line or header: queries are sent as part of the address.
_LONGEST_LINE = 64 * 2**10
#: Connections that may wait to be accepted: a burst comes at once.
_BACKLOG = 1024


class Listener:
    """Serves `handle` on a port, bodies as they came, answers as they are written.

    A client that goes away has its request's call cancelled.
    """

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._runner: web.ServerRunner | None = None
        #: The port it listens on, once it does.
        self.port = 0

    async def start(self, port: int, address: str = LOOPBACK) -> None:
        """Listen; port 0 is any that is free."""
        allow_many_connections()
        server = web.Server(
            self._answer,
            request_factory=_request,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
        )
        # Nobody waits for answers that are still open: whoever stops this stops the cluster.
        self._runner = web.ServerRunner(server, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port, backlog=_BACKLOG).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "").lower() == "100-continue":
            # curl waits for this before it sends a long body.
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        return await self._handle(request)


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=LONGEST_BODY)
