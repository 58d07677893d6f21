"""Runs a trace against a target: sends each request when it is due, whatever became of those before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from chartproof.cluster.speed import Speed
from chartproof.load.client import Client, Clock, Target
from chartproof.load.records import STOPPED, Record
from chartproof.open_files import allow_many_connections
from chartproof.simulate.traffic import Request, Trace

#: Real seconds between two calls of `on_progress`.
PROGRESS_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a load is: simulated seconds since its start, and how many requests."""

    seconds: float
    sent: int
    open: int
    answered: int
    lost: int


class Load:
    """One run of a trace; `run` it once.

    Of an endless trace `stop` makes an end. Cancelled, it ends at once: requests that are open are recorded as
    `stopped`, and the connections are closed.
    """

    def __init__(
        self,
        target: Target,
        trace: Trace,
        speed: Speed,
        *,
        on_record: Callable[[Record], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        seed: int = 0,
    ) -> None:
        #: What became of the requests, in the order of their ends.
        self.records: list[Record] = []
        #: Wall clock at the start, seconds since 1970; NaN before.
        self.began = float("nan")
        self._target = target
        self._trace = trace
        self._speed = speed
        self._on_record = on_record
        self._on_progress = on_progress
        self._seed = seed
        self._sent = self._lost = 0
        self._stopping = False
        self._pause: asyncio.Future[None] | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def run(self) -> list[Record]:
        """Send everything, and wait for the last answer; the records."""
        allow_many_connections()
        clock = Clock(self._speed, asyncio.get_running_loop().time())
        self.began = time.time()
        reporter = asyncio.create_task(self._report(clock))
        try:
            async with Client(self._target, clock, seed=self._seed) as client:
                try:
                    await self._send_all(client, clock)
                    while self._open:
                        await asyncio.wait(self._open)
                finally:
                    for each in self._open:
                        each.cancel()
                    await asyncio.gather(*self._open, return_exceptions=True)
        finally:
            reporter.cancel()
            self._tell(clock)
        return self.records

    def stop(self) -> None:
        """Send nothing more; what is open goes on to its end."""
        self._stopping = True
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)

    async def _send_all(self, client: Client, clock: Clock) -> None:
        for index, request in enumerate(self._trace.requests()):
            await self._until(clock.origin + self._speed.real(request.time))
            if self._stopping:
                return
            self._sent += 1
            task = asyncio.create_task(self._send(client, clock, index, request))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _until(self, moment: float) -> None:
        """Wait for a time of the event loop, or for `stop`; the others have their turn in any case."""
        loop = asyncio.get_running_loop()
        if moment <= loop.time() or self._stopping:
            await asyncio.sleep(0)
            return
        self._pause = loop.create_future()
        timer = loop.call_at(moment, _set, self._pause)
        try:
            await self._pause
        finally:
            timer.cancel()
            self._pause = None

    async def _send(self, client: Client, clock: Clock, index: int, request: Request) -> None:
        sent = clock.now()
        try:
            record = await client.send(index, request)
        except asyncio.CancelledError:
            self._keep(
                Record(
                    index=index,
                    due=request.time,
                    sent=sent,
                    first_token=None,
                    done=clock.now(),
                    outcome=STOPPED,
                    prompt_tokens=request.prompt_tokens,
                    answer_tokens=request.answer_tokens,
                )
            )
            raise
        self._keep(record)

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        self._lost += record.lost
        if self._on_record is not None:
            self._on_record(record)

    async def _report(self, clock: Clock) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            self._tell(clock)

    def _tell(self, clock: Clock) -> None:
        if self._on_progress is not None:
            done = len(self.records)
            self._on_progress(Progress(clock.now(), self._sent, self._sent - done, done - self._lost, self._lost))


def _set(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)
