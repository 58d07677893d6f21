"""The simulator's engine, played in real time: what it does is metered as the real engine's metrics count it.

The batch is advanced by the clock, a moment at a time; requests wait for it on futures. Everything measured
is in simulated seconds. Sources of what is counted when: vLLM 0.33.0, `v1/metrics/stats.py` (IterationStats,
FinishedRequestStats) and `v1/metrics/loggers.py` (PrometheusStatLogger.record).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from chartproof.cluster.machines.exposition import Histogram
from chartproof.cluster.speed import Speed
from chartproof.simulate.engine import Engine, EngineModel, Job

#: Real seconds between two looks at the batch while there is work.
TICK_SECONDS = 0.02
#: Least real seconds between two pieces of one streamed answer, after its first token.
PIECE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Buckets:
    """Upper ends of an engine's histograms. Seconds and tokens."""

    first_token: tuple[float, ...]
    inter_token: tuple[float, ...]
    phase: tuple[float, ...]
    end_to_end: tuple[float, ...]
    queue: tuple[float, ...]
    iteration: tuple[float, ...]
    tokens: tuple[float, ...]
    preemptions: tuple[float, ...] = (1, 2, 3, 4, 5, 10, 20)
    samples: tuple[float, ...] = (1, 2, 5, 10, 20)


class Ticket(Job):
    """A request in the batch, and whoever waits for its tokens."""

    __slots__ = (
        *("admitted", "cut", "last_token", "max_tokens", "name", "piece_due"),
        *("preemptions", "reason", "sent", "stream", "waiter"),
    )

    def __init__(
        self,
        arrival: float,
        prompt_tokens: int,
        answer_tokens: int,
        *,
        max_tokens: int | None = None,
        reason: str = "length",
        stream: bool = False,
        received: bool = False,
    ) -> None:
        super().__init__(arrival, prompt_tokens, answer_tokens, received=received)
        #: What the client asked for, None where it left that open.
        self.max_tokens = max_tokens
        #: Why it will end.
        self.reason = reason
        self.stream = stream
        self.admitted = math.nan
        self.last_token = math.nan
        self.preemptions = 0
        #: Its key among the running ones, -1 while it does not run.
        self.name = -1
        #: Tokens that the client has.
        self.sent = 0
        #: The process ended before the answer did.
        self.cut = False
        self.piece_due = -math.inf
        self.waiter: asyncio.Future[None] | None = None

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self.cut or not math.isnan(self.finish)


@dataclass(slots=True)
class Meter:
    """What the engine's metrics count beside what `Engine` itself does. Histograms of seconds and tokens."""

    buckets: Buckets
    prompt_tokens: int = 0
    finished: dict[str, int] = field(default_factory=dict)
    admission_rejections: int = 0
    time_to_first_token: Histogram = field(init=False)
    inter_token_latency: Histogram = field(init=False)
    time_per_output_token: Histogram = field(init=False)
    end_to_end: Histogram = field(init=False)
    queue: Histogram = field(init=False)
    prefill: Histogram = field(init=False)
    decode: Histogram = field(init=False)
    inference: Histogram = field(init=False)
    iteration_tokens: Histogram = field(init=False)
    request_prompt_tokens: Histogram = field(init=False)
    request_answer_tokens: Histogram = field(init=False)
    request_max_tokens: Histogram = field(init=False)
    request_longest_answer: Histogram = field(init=False)
    request_samples: Histogram = field(init=False)
    request_preemptions: Histogram = field(init=False)
    request_computed_tokens: Histogram = field(init=False)

    def __post_init__(self) -> None:
        buckets = self.buckets
        self.time_to_first_token = Histogram(buckets.first_token)
        self.inter_token_latency = Histogram(buckets.inter_token)
        self.time_per_output_token = Histogram(buckets.inter_token)
        self.end_to_end = Histogram(buckets.end_to_end)
        self.queue = Histogram(buckets.queue)
        self.prefill = Histogram(buckets.phase)
        self.decode = Histogram(buckets.phase)
        self.inference = Histogram(buckets.phase)
        self.iteration_tokens = Histogram(buckets.iteration)
        self.request_prompt_tokens = Histogram(buckets.tokens)
        self.request_answer_tokens = Histogram(buckets.tokens)
        self.request_max_tokens = Histogram(buckets.tokens)
        self.request_longest_answer = Histogram(buckets.tokens)
        self.request_samples = Histogram(buckets.samples)
        self.request_preemptions = Histogram(buckets.preemptions)
        self.request_computed_tokens = Histogram(buckets.tokens)

    def count_end(self, reason: str) -> None:
        """Count a request that ended for this reason."""
        self.finished[reason] = self.finished.get(reason, 0) + 1

    def count_finished(self, ticket: Ticket) -> None:
        """Count a request whose answer is whole."""
        self.count_end(ticket.reason)
        decoding = ticket.finish - ticket.first_token
        self.end_to_end.observe(ticket.end_to_end)
        self.queue.observe(ticket.admitted - ticket.arrival)
        self.prefill.observe(ticket.first_token - ticket.admitted)
        self.decode.observe(decoding)
        self.inference.observe(ticket.finish - ticket.admitted)
        self.time_per_output_token.observe(decoding / (ticket.answer_tokens - 1) if ticket.answer_tokens > 1 else 0.0)
        self.request_prompt_tokens.observe(ticket.prompt_tokens)
        self.request_computed_tokens.observe(1 if ticket.received else ticket.prompt_tokens)
        self.request_answer_tokens.observe(ticket.answer_tokens)
        self.request_longest_answer.observe(ticket.answer_tokens)
        self.request_samples.observe(1)
        self.request_preemptions.observe(ticket.preemptions)
        if ticket.max_tokens is not None:
            self.request_max_tokens.observe(ticket.max_tokens)


class MeteredEngine(Engine):
    """`Engine` with a meter, and with requests that can be taken out again."""

    def __init__(self, model: EngineModel, time: float, buckets: Buckets) -> None:
        # The API server bounds the queue before a request gets here, each engine in its own way.
        super().__init__(replace(model, request_limit=None, queue_limit=None), time)
        self.meter = Meter(buckets)
        #: Requests that got their first token since somebody looked.
        self.first: list[Ticket] = []
        self._of_prompts = False

    def tokens_of(self, ticket: Ticket) -> int:
        """Tokens of the answer that are made."""
        left = ticket.end_count - self._count if ticket.name >= 0 else ticket.left
        return ticket.answer_tokens - max(0, left)

    def drop(self, ticket: Ticket) -> None:
        """Take a request out, wherever it is, as the engine does when its client went away."""
        if ticket in self.waiting:
            self.waiting.remove(ticket)
        elif ticket in self._prefilling:
            if self._prefilling[0] is ticket:
                self._prompt_left = self._prefilling[1].compute if len(self._prefilling) > 1 else 0
            self._prefilling.remove(ticket)
            self.kv_tokens -= ticket.todo
        elif ticket.name in self._running:
            self.kv_tokens -= ticket.prompt_tokens + self.tokens_of(ticket)
            del self._running[ticket.name]

    def hold_up(self, until: float) -> None:
        """Nothing was done until this time: those who run have waited for their next token."""
        if until > self.time:
            if self._running:
                self.meter.inter_token_latency.observe(until - self.time, len(self._running))
            self.time = until

    def _admit(self) -> None:
        before = len(self._prefilling)
        super()._admit()
        for job in list(self._prefilling)[before:]:
            if isinstance(job, Ticket) and math.isnan(job.admitted):
                job.admitted = self.time

    def _prompt_step(self) -> None:
        meter, prompts, answers = self.meter, self.meter.prompt_tokens, self.answer_tokens_total
        self._of_prompts = True
        super()._prompt_step()
        self._of_prompts = False
        made = self.answer_tokens_total - answers
        if made:
            meter.iteration_tokens.observe(meter.prompt_tokens - prompts + made)

    def _pass(self, seconds: float, steps: int, sequences: int) -> None:
        super()._pass(seconds, steps, sequences)
        if sequences:
            self.meter.inter_token_latency.observe(seconds / steps, steps * sequences)
            if not self._of_prompts:
                self.meter.iteration_tokens.observe(sequences, steps)

    def _first(self, job: Job) -> None:
        again = not math.isnan(job.first_token)
        super()._first(job)
        if not isinstance(job, Ticket):
            return
        job.name = next(reversed(self._running))
        if again:
            self.meter.inter_token_latency.observe(self.time - job.last_token)
        else:
            self.first.append(job)
            self.meter.time_to_first_token.observe(job.time_to_first_token)
            self.meter.prompt_tokens += job.prompt_tokens

    def _make_room(self) -> None:
        before = len(self.waiting)
        super()._make_room()
        for job, _ in zip(self.waiting, range(len(self.waiting) - before), strict=False):
            if isinstance(job, Ticket):
                job.preemptions += 1
                job.last_token = self.time
                job.name = -1


class PlayedEngine:
    """A `MeteredEngine` that runs by the event loop's clock while somebody waits for it."""

    def __init__(
        self,
        model: EngineModel,
        buckets: Buckets,
        speed: Speed,
        *,
        first: Callable[[Ticket], None],
        finished: Callable[[Ticket], None],
    ) -> None:
        """`first` and `finished` are told of every first token and every whole answer."""
        self._loop = asyncio.get_running_loop()
        self._speed = speed
        self._origin = self._loop.time()
        self._first = first
        self._finished = finished
        self._timer: asyncio.TimerHandle | None = None
        self._tickets: set[Ticket] = set()
        self.hung = False
        self.engine = MeteredEngine(model, 0.0, buckets)

    @property
    def meter(self) -> Meter:
        """What was counted."""
        return self.engine.meter

    @property
    def open(self) -> int:
        """Requests that are neither finished nor given up."""
        return len(self._tickets)

    def now(self) -> float:
        """Simulated seconds since the engine began."""
        return self._speed.simulated(self._loop.time() - self._origin)

    def submit(
        self,
        prompt_tokens: int,
        answer_tokens: int,
        *,
        max_tokens: int | None = None,
        reason: str = "length",
        stream: bool = False,
        received: bool = False,
    ) -> Ticket | None:
        """Put a request into the queue; None where it is longer than the whole KV cache.

        `received`: the KV cache of its prompt comes from another replica, in no time.
        """
        now = self.now()
        if not self.hung:
            self.engine.advance(now)
        ticket = Ticket(
            *(now, prompt_tokens, answer_tokens),
            max_tokens=max_tokens,
            reason=reason,
            stream=stream,
            received=received,
        )
        if not self.engine.submit(ticket):
            return None
        self._tickets.add(ticket)
        self._schedule()
        return ticket

    async def piece(self, ticket: Ticket) -> int:
        """Wait for tokens that the client does not have yet, and for the time of the next piece; how many there are.

        At the end, and when the process ended, it returns at once: look at `ticket.done`.
        """
        while not ticket.done and (
            self._loop.time() < ticket.piece_due or self.engine.tokens_of(ticket) <= ticket.sent
        ):
            await self._wake(ticket)
        ticket.piece_due = self._loop.time() + PIECE_SECONDS
        return self.engine.tokens_of(ticket)

    async def finish(self, ticket: Ticket) -> None:
        """Wait until the answer is whole, or the process ended."""
        while not ticket.done:
            await self._wake(ticket)

    def give_up(self, ticket: Ticket) -> bool:
        """The client went away; whether there was still something to give up."""
        if ticket not in self._tickets:
            return False
        self._tickets.discard(ticket)
        self.engine.drop(ticket)
        return True

    def cut(self) -> None:
        """The process ended: nobody gets anything any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.engine.abort()
        for ticket in self._tickets:
            ticket.cut = True
            _set(ticket)
        self._tickets.clear()

    def hang(self) -> None:
        """Stop working; what was counted stays as it is."""
        if not self.hung:
            self.look()
            self.hung = True

    def unhang(self) -> None:
        """Go on where it stopped."""
        if self.hung:
            self.hung = False
            self.engine.hold_up(self.now())
            self._schedule()

    def look(self) -> None:
        """Advance the batch to now, and wake whoever has something to write."""
        engine = self.engine
        if self.hung:
            return
        engine.advance(self.now())
        for ticket in engine.first:
            self._first(ticket)
        for job in engine.finished:
            if isinstance(job, Ticket):
                self._tickets.discard(job)
                self._finished(job)
                _set(job)
        engine.first.clear()
        engine.finished.clear()
        engine.first_tokens.clear()
        real = self._loop.time()
        for ticket in self._tickets:
            if ticket.waiter is not None and real >= ticket.piece_due and engine.tokens_of(ticket) > ticket.sent:
                _set(ticket)

    def _schedule(self) -> None:
        if self._timer is None and self.engine.load and not self.hung:
            self._timer = self._loop.call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.look()
        self._schedule()

    async def _wake(self, ticket: Ticket) -> None:
        ticket.waiter = self._loop.create_future()
        try:
            await ticket.waiter
        finally:
            ticket.waiter = None


def _set(ticket: Ticket) -> None:
    if ticket.waiter is not None and not ticket.waiter.done():
        ticket.waiter.set_result(None)
