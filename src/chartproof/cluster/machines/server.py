"""A program in a container that listens: the seam between kubelet, pod network and the programs we play.

The kubelet starts and ends it, the network hands it requests. A program never opens a port: pods share one
process, and their addresses exist only inside the network.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import yarl
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

#: Exit codes as a kubelet reports them: 128 and the number of the signal.
EXIT_DONE = 0
EXIT_ERROR = 1
EXIT_KILLED = 137
EXIT_TERMINATED = 143

#: Header of answers that no program gave, REFUSED or NO_SUCH_HOST: where a connection would have failed.
ERROR_HEADER = "X-Chartproof-Error"
REFUSED = "refused"
NO_SUCH_HOST = "no such host"


class Server(Protocol):
    """A program in a container that listens.

    Made for one life of one container: after its end, a restarted container gets a new one.
    """

    #: Container ports that it answers on.
    ports: tuple[int, ...]

    def start(self) -> None:
        """The container started; loading begins. Called within the running event loop, once."""

    async def handle(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        """Answer a request that came for `url` (absolute: `http://10.64.0.7:8000/v1/models`).

        Called only while `listening`. The returned answer is complete, or not prepared yet, or `Cut`: then
        the client's connection is already broken and nothing may be written any more. Cancelling the call
        is how a client's disconnection is told (serve with `handler_cancellation=True`).
        """

    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL: open answers are cut at once."""

    def crash(self, code: int, reason: str) -> None:
        """End by itself, as after a fault: (137, "OOMKilled"), (1, "Error")."""

    def hang(self) -> None:
        """Answer health checks and accept requests, but make no progress; `unhang` goes on from there."""

    def unhang(self) -> None:
        """End of `hang`."""

    @property
    def listening(self) -> bool:
        """False: connections are refused."""

    @property
    def exit(self) -> asyncio.Future[int]:
        """Done with the exit code when the program has ended; may be asked for only after `start`."""

    @property
    def exit_reason(self) -> str:
        """The kubelet's word for the end: `Completed`, `Error` or what `crash` was told; empty before."""


class Cut(web.StreamResponse):
    """Stands for an answer that broke off: nothing can be written to its connection any more."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Refuse: the web server takes this as a client that went away, and logs no error."""
        raise ConnectionResetError(f"the answer to {request.rel_url.path} broke off")


def cut(request: web.BaseRequest) -> Cut:
    """Break the client's connection, as the end of a process does, and stand in for its answer."""
    if request.transport is not None:
        request.transport.abort()
    return Cut()
