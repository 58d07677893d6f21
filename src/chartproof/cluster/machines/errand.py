"""A program of which nothing is known but that it runs: a Job, an init container, a sidecar, another chart's server."""

from __future__ import annotations

import asyncio

import yarl
from aiohttp import web

from chartproof.cluster.machines.server import EXIT_DONE, EXIT_KILLED

_COMPLETED, _ERROR = "Completed", "Error"


class Errand:
    """Runs for some real seconds, or (None) until it is ended; nobody can talk to it."""

    ports: tuple[int, ...] = ()

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reason = ""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to run."""
        self.unhang()

    async def handle(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        """Nobody listens."""
        raise ConnectionRefusedError(f"{url}: {request.method} to a program that does not listen")

    def terminate(self) -> None:
        """End as a program that was asked to and has nothing to finish."""
        self.crash(EXIT_DONE, _COMPLETED)

    def kill(self) -> None:
        """End at once."""
        self.crash(EXIT_KILLED, _ERROR)

    def crash(self, code: int, reason: str) -> None:
        """End by itself."""
        self.hang()
        if not self._exit.done():
            self._reason = reason
            self._exit.set_result(code)

    def hang(self) -> None:
        """Do not get on with it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def unhang(self) -> None:
        """Go on; what was hung starts its work anew."""
        if self._seconds is not None and self._timer is None and not self._exit.done():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self.crash, EXIT_DONE, _COMPLETED)

    @property
    def listening(self) -> bool:
        """Never."""
        return False

    @property
    def exit(self) -> asyncio.Future[int]:
        """Done with the exit code."""
        return self._exit

    @property
    def exit_reason(self) -> str:
        """How it ended; empty before."""
        return self._reason
