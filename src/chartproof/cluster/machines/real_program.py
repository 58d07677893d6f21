"""A container whose program is not played: a real process, reached through the pod's address like any other."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import yarl
from aiohttp import web

from chartproof.cluster.machines.passage import Passage
from chartproof.cluster.machines.server import ERROR_HEADER, EXIT_KILLED, REFUSED
from chartproof.cluster.ports import LOOPBACK

_LOOK_SECONDS = 0.05


class RealProgram:
    """A process of this machine. What it does takes real time, at any speed of the cluster."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        ports: Mapping[int, int],
        log: Path,
        passage: Passage,
    ) -> None:
        """`environment` is all that it gets; `ports` has, by the container's, the ports of this machine."""
        self.ports: tuple[int, ...] = tuple(ports)
        self._command = tuple(command)
        self._environment = dict(environment)
        self._targets = dict(ports)
        self._log = log
        self._passage = passage
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._reason = ""

    def start(self) -> None:
        """Start the process."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._log.parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Its own group, so that what it starts ends with it.
                start_new_session=True,
            )
        self._watch = asyncio.create_task(self._until_it_ends(self._process))

    async def handle(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        """Have the process answer."""
        answer = await self._passage.stream(request, url, (LOOPBACK, self._targets[url.port or 0]))
        # Between two lives, or before its port is open.
        return web.Response(status=502, headers={ERROR_HEADER: REFUSED}) if answer is None else answer

    def terminate(self) -> None:
        """SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to everything that it started."""
        self._send(signal.SIGKILL)
        self._over(EXIT_KILLED)

    def crash(self, code: int, reason: str) -> None:
        """End it at once, and say that it ended by itself."""
        self._reason = reason
        self._send(signal.SIGKILL)
        self._over(code)

    def hang(self) -> None:
        """Stop the process where it is: the machine still accepts connections, nobody answers."""
        self._send(signal.SIGSTOP)

    def unhang(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    @property
    def listening(self) -> bool:
        """Whether it runs; what knocks before its port is open is refused."""
        return self._process is not None and not self._exit.done()

    @property
    def exit(self) -> asyncio.Future[int]:
        """Done with the exit code."""
        return self._exit

    @property
    def exit_reason(self) -> str:
        """How it ended; empty before."""
        if not self._exit.done():
            return ""
        return self._reason or ("Error" if self._exit.result() else "Completed")

    def _send(self, number: signal.Signals) -> None:
        process = self._process
        # Polled first: the number of a process that was waited for may be somebody else's.
        if process is not None and process.poll() is None:
            os.killpg(process.pid, number)

    def _over(self, code: int) -> None:
        if self._watch is not None:
            self._watch.cancel()
        if self._process is not None:
            # It was killed: this does not take long, and leaves no zombie.
            self._process.wait()
        if not self._exit.done():
            self._exit.set_result(code)

    async def _until_it_ends(self, process: subprocess.Popen[bytes]) -> None:
        while (code := process.poll()) is None:  # noqa: ASYNC110 - nothing else tells of its end
            await asyncio.sleep(_LOOK_SECONDS)
        if not self._exit.done():
            # A signal's number as a shell reports it.
            self._exit.set_result(code if code >= 0 else 128 - code)
