"""An engine replica without single requests: what is in it, as a quantity that flows.

With `n` requests in a replica, fewer than it can run at once, each takes the time in which a batch of `n`
finishes `n`, so the content relaxes towards inflow times that time; a full one finishes at its full rate. It
gives the same load to the autoscaler at a cost that does not depend on the number of requests; it knows no
latencies of single requests.
"""

from __future__ import annotations

import math

from chartproof.simulate.engine import Engine, EngineModel

#: Longest step of the integration, in seconds.
_STEP_SECONDS = 7.5


class FluidEngine(Engine):
    """The same readings as an `Engine`, from rates. `inflow` is requests per second."""

    def __init__(self, model: EngineModel, time: float) -> None:
        super().__init__(model, time)
        self.content = 0.0
        self.inflow = 0.0
        self._prompt = 1.0
        self._answer = 1.0
        self._capacity = 1
        self._full_rate = 1.0
        self._alone_rate = 1.0

    def flow(self, per_second: float, prompt_tokens: float, answer_tokens: float) -> None:
        """From the engine's time on, so many requests of these lengths arrive per second."""
        self.inflow = per_second
        if (prompt_tokens, answer_tokens) != (self._prompt, self._answer):
            self._prompt, self._answer = prompt_tokens, answer_tokens
            self._capacity = self.model.capacity(prompt_tokens, answer_tokens)
            self._full_rate = self.model.requests_per_second(self._capacity, prompt_tokens, answer_tokens)
            self._alone_rate = self.model.requests_per_second(1, prompt_tokens, answer_tokens)

    @property
    def running(self) -> int:
        """Sequences in the batch, rounded."""
        return round(min(self.content, self._capacity))

    @property
    def load(self) -> int:
        """Requests that are here, rounded."""
        return round(self.content)

    def drop(self) -> float:
        """Give up everything that is here; less than half a request counts as drained."""
        dropped, self.content = self.content, 0.0
        return dropped if round(dropped) else 0.0

    def advance(self, until: float) -> None:
        """Let the content flow until then."""
        while self.time < until:
            step = min(_STEP_SECONDS, until - self.time)
            self._relax(step)
            self.time += step
        self.queued = max(0, round(self.content - self._capacity))

    def _relax(self, step: float) -> None:
        content = self.content
        if content >= self._capacity:
            # A full batch finishes at one rate, however long the queue.
            self.content = max(0.0, content + (self.inflow - self._full_rate) * step)
        else:
            alone = content <= 1
            rate = self._alone_rate if alone else self.model.requests_per_second(content, self._prompt, self._answer)
            seconds = (1 if alone else content) / rate
            rest = self.inflow * seconds
            self.content = rest + (content - rest) * math.exp(-step / seconds)
        finished = max(0.0, content + self.inflow * step - self.content)
        self.busy_seconds += step * min(1.0, content)
        self.prompt_tokens_total += round(finished * self._prompt)
        self.cached_tokens_total += round(finished * self._prompt * self.model.cached_share)
        self.answer_tokens_total += round(finished * self._answer)
        batch = min(self.content, self._capacity)
        self.kv_tokens = min(self.model.kv_tokens, int(batch * (self._prompt + self._answer / 2)))
