"""The clients of a scenario: streaming requests at rates that change, and what became of each."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType
from typing import Protocol, Self

from chartproof.cluster.scenario.sizing import Lengths
from chartproof.cluster.scenario.timeline import SERVED, UNANSWERED, Asked
from chartproof.cluster.speed import Speed
from chartproof.load.client import Client, Clock, Target
from chartproof.load.records import OK, Record
from chartproof.open_files import allow_many_connections
from chartproof.simulate.traffic import Request


class Clients(Protocol):
    """Sends streaming requests, none of which waits for another, and writes down what becomes of each."""

    async def __aenter__(self) -> Self:
        """Begin."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up what is not answered yet."""

    def rate(self, per_second: float, lengths: Lengths, phase: str) -> None:
        """From now on send so many per simulated second, evenly spaced; 0 stops."""

    def burst(self, count: int, lengths: Lengths, phase: str) -> None:
        """Send so many at once."""

    @property
    def unanswered(self) -> int:
        """Requests that are under way."""

    @property
    def lost(self) -> int:
        """Requests that ended without a complete answer."""

    def sent(self, phase: str = "") -> int:
        """Requests that were sent, in all or in a phase."""

    def asked(self) -> list[Asked]:
        """Every request until now, those under way as unanswered."""


class StreamingClients:
    """Requests to one front door, by the load generator's client; an asynchronous context manager.

    `origin` is second 0 of the records, as a reading of the monotonic clock, which is that of the event loop.
    """

    def __init__(self, target: Target, speed: Speed, origin: float) -> None:
        self._speed = speed
        self._clock = Clock(speed, origin)
        self._client = Client(target, self._clock)
        self._sender: asyncio.Task[None] | None = None
        self._open: dict[asyncio.Task[None], Asked] = {}
        self._ended: list[Asked] = []
        self._sent: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        allow_many_connections()
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        for each in self._open:
            each.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._client.__aexit__(kind, error, trace)

    def rate(self, per_second: float, lengths: Lengths, phase: str) -> None:
        """From now on send so many per simulated second, evenly spaced; 0 stops."""
        self._stop()
        if per_second > 0:
            self._sender = asyncio.create_task(self._go_on(1 / self._speed.simulated(per_second), lengths, phase))

    def burst(self, count: int, lengths: Lengths, phase: str) -> None:
        """Send so many at once."""
        for _ in range(count):
            self._begin(lengths, phase)

    @property
    def unanswered(self) -> int:
        """Requests that are under way."""
        return len(self._open)

    @property
    def lost(self) -> int:
        """Requests that ended without a complete answer."""
        return sum(not each.served for each in self._ended)

    def sent(self, phase: str = "") -> int:
        """Requests that were sent, in all or in a phase."""
        return self._sent[phase] if phase else self._sent.total()

    def asked(self) -> list[Asked]:
        """Every request until now, those under way as unanswered."""
        return [*self._ended, *self._open.values()]

    def _stop(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None

    async def _go_on(self, distance: float, lengths: Lengths, phase: str) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            self._begin(lengths, phase)
            due += distance
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _begin(self, lengths: Lengths, phase: str) -> None:
        index, now = self._sent.total(), self._clock.now()
        self._sent[phase] += 1
        task = asyncio.create_task(self._send(index, Request(now, *lengths), phase))
        self._open[task] = Asked(now, phase, UNANSWERED)
        task.add_done_callback(self._over)

    async def _send(self, index: int, request: Request, phase: str) -> None:
        self._ended.append(asked_of(await self._client.send(index, request), phase))

    def _over(self, task: asyncio.Task[None]) -> None:
        # What was given up stays as it is: it has no answer, but nobody refused it one.
        if not task.cancelled():
            self._open.pop(task)


def asked_of(record: Record, phase: str) -> Asked:
    """A request of a phase, as its client saw it."""
    outcome = SERVED if record.outcome == OK else record.outcome
    return Asked(
        record.sent, phase, outcome, record.first_token, record.done, "" if outcome == SERVED else record.detail
    )
