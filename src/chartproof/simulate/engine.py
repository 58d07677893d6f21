"""An engine replica with continuous batching, advanced in spans instead of steps.

A decode step with `b` sequences that hold `k` KV tokens takes `base + per_sequence x b + per_kv_token x k`
seconds and makes one token for each. Waiting prompts are taken in order, as far as sequences, KV cache and
the tokens of a step allow; the step that computes a part of prompts takes as long as the prompts' tokens do
(weights are read meanwhile), plus what the sequences add, and no less than a decode step. When the KV cache
is full, the sequence that came last is put back and computed again, as vLLM does.

Of a prompt whose beginning is in the prefix cache only the rest is computed: which blocks there are follows from the
requests where a trace names their blocks, else a share of every prompt is taken to be there. The blocks that were used
last stay, as many as the KV cache holds. Shared blocks are counted for each request that holds them, so that a KV cache
that is full is full too early.

Between two such events the batch is constant and the KV cache grows by `b` tokens a step, so that the time
of `n` steps is a quadratic in `n`: a span costs the same however long it is.

Sources: vLLM v1 `core/sched/scheduler.py` (order, token budget, preemption), `engine/arg_utils.py`
(defaults); step times from the catalog's profiles; overheads of the API server from a published fit
(inference-sim, docs/guide/latency-models.md).
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import count, islice

from chartproof.catalog import Profile
from chartproof.plan.throughput import simulated_profile
from chartproof.plan.workload_plan import WorkloadPlan
from chartproof.workload import EngineContainer, mig_profile

#: Seconds that API server and tokenizer take: before a request is queued, after its last token, per token.
OVERHEAD_BEFORE_SECONDS = 0.0156
OVERHEAD_AFTER_SECONDS = 0.00078
OVERHEAD_PER_TOKEN_SECONDS = 0.000046
#: Context that the profiles' lines were fitted at: their slope per sequence holds this much KV cache.
PROFILE_CONTEXT_TOKENS = 1152
#: Tokens of a block that a trace names (Mooncake's; engines have smaller ones, of 16 or 1).
BLOCK_TOKENS = 512
#: `--max-num-batched-tokens` where none is given: by memory of the GPU (the A100 counts as a small one).
STEP_TOKENS = 2048
STEP_TOKENS_LARGE_GPU = 8192
_LARGE_GPU_MEBIBYTES = 70 * 1024
#: What switches the prefix cache off that vLLM and SGLang have by default.
_NO_PREFIX_CACHE = ("--no-enable-prefix-caching", "--disable-radix-cache")


@dataclass(frozen=True, slots=True)
class EngineModel:
    """How fast one replica is and what it holds. Times are seconds.

    Bounds (None: any number): `request_limit` of requests that wait or run (vLLM's `--max-num-queued-reqs`, by
    `AsyncLLM.check_admission`), `queue_limit` of those that wait (SGLang's `--max-queued-requests`). `estimate`:
    the profile is not from measured kernels. `cached_share` of every prompt is found in the prefix cache, where a trace
    does not name blocks; `prefix_cache` tells whether there is one.
    """

    base: float
    per_sequence: float
    per_kv_token: float
    per_prompt_token: float
    kv_tokens: int
    max_sequences: int
    step_tokens: int
    request_limit: int | None = None
    queue_limit: int | None = None
    estimate: bool = False
    prefix_cache: bool = True
    cached_share: float = 0.0

    def step_seconds(self, sequences: float, kv_tokens: float) -> float:
        """One decode step."""
        return max(self.base, self.base + self.per_sequence * sequences + self.per_kv_token * kv_tokens)

    def capacity(self, prompt_tokens: float, answer_tokens: float) -> int:
        """Requests of these lengths that are held at once, half of their answers made on average."""
        return max(1, min(self.max_sequences, int(self.kv_tokens / (prompt_tokens + answer_tokens / 2))))

    def requests_per_second(self, batch: float, prompt_tokens: float, answer_tokens: float) -> float:
        """What a replica finishes when `batch` requests of these lengths run all the time."""
        step = self.step_seconds(batch, batch * (prompt_tokens + answer_tokens / 2))
        computed = prompt_tokens * (1 - self.cached_share)
        return 1 / (computed * self.per_prompt_token + answer_tokens * step / batch)


def engine_model(plan: WorkloadPlan, gpu: str, memory_mebibytes: int) -> EngineModel | None:
    """The model of a replica of this workload on this GPU; None where nothing is known to make it from."""
    facts = plan.facts
    fit = next((each for each in plan.fits if each.gpu == gpu), None)
    if fit is None or fit.kv_tokens is None or not fit.kv_tokens:
        return None
    container = plan.container
    profile = simulated_profile(
        facts,
        facts.gpus[gpu].with_memory(memory_mebibytes),
        plan.model,
        plan.precision,
        container.tensor_parallel_size,
        mig_profile=mig_profile(container.container),
    )
    if profile is None:
        return None
    large = memory_mebibytes >= _LARGE_GPU_MEBIBYTES and gpu != "a100"
    return from_profile(
        profile,
        kv_tokens=fit.kv_tokens,
        max_sequences=fit.max_sequences,
        step_tokens=container.integer(
            "--max-num-batched-tokens",
            "--chunked-prefill-size",
            default=STEP_TOKENS_LARGE_GPU if large else STEP_TOKENS,
        ),
        request_limit=_bound(container, "--max-num-queued-reqs"),
        queue_limit=_bound(container, "--max-queued-requests"),
        prefix_cache=all(container.option(each) is None for each in _NO_PREFIX_CACHE),
    )


def _bound(container: EngineContainer, option: str) -> int | None:
    limit = container.integer(option, default=-1)
    return limit if limit >= 0 else None


def from_profile(
    profile: Profile,
    *,
    kv_tokens: int,
    max_sequences: int,
    step_tokens: int,
    request_limit: int | None = None,
    queue_limit: int | None = None,
    prefix_cache: bool = True,
) -> EngineModel:
    """The model that a profile's line makes: its slope per sequence is split from that of its KV cache."""
    per_kv_token = profile.kv_milliseconds_per_thousand_tokens / 1e6
    return EngineModel(
        base=profile.alpha_milliseconds / 1000,
        per_sequence=profile.beta_milliseconds / 1000 - per_kv_token * PROFILE_CONTEXT_TOKENS,
        per_kv_token=per_kv_token,
        per_prompt_token=1 / profile.prefill_tokens_per_second,
        kv_tokens=kv_tokens,
        max_sequences=max_sequences,
        step_tokens=step_tokens,
        request_limit=request_limit,
        queue_limit=queue_limit,
        estimate=profile.estimate,
        prefix_cache=prefix_cache,
    )


class Job:
    """A request on its way. Times are seconds of the simulation, NaN until they come."""

    __slots__ = (
        "answer_tokens",
        "arrival",
        "blocks",
        "compute",
        "end_count",
        "finish",
        "first_token",
        "left",
        "lost",
        "prompt_tokens",
        "received",
        "todo",
    )

    def __init__(
        self,
        arrival: float,
        prompt_tokens: int,
        answer_tokens: int,
        blocks: tuple[int, ...] = (),
        *,
        received: bool = False,
    ) -> None:
        self.arrival = arrival
        self.prompt_tokens = prompt_tokens
        self.answer_tokens = answer_tokens
        self.first_token = math.nan
        self.finish = math.nan
        #: Why it was lost; empty while it is not.
        self.lost = ""
        #: Names of the prompt's blocks of BLOCK_TOKENS, which are the same where the prompts are up to there.
        self.blocks = blocks
        #: Another replica has computed the prompt, and its KV cache comes from there; after a preemption it does not.
        self.received = received
        #: Tokens to have before the next one comes: the prompt, and after a preemption the answer so far.
        self.todo = prompt_tokens
        #: Those of them that are not in the prefix cache, known once it is let in.
        self.compute = prompt_tokens
        #: Tokens of the answer that are still to be made.
        self.left = answer_tokens
        #: The replica's token count at which the answer is whole.
        self.end_count = 0

    @property
    def time_to_first_token(self) -> float:
        """Seconds from the arrival to the first token."""
        return self.first_token - self.arrival + OVERHEAD_BEFORE_SECONDS

    @property
    def end_to_end(self) -> float:
        """Seconds from the arrival to the last token."""
        overhead = OVERHEAD_BEFORE_SECONDS + OVERHEAD_AFTER_SECONDS + OVERHEAD_PER_TOKEN_SECONDS * self.answer_tokens
        return self.finish - self.arrival + overhead


class Engine:
    """One replica's engine. `advance` to a time before submitting at it; what ended is in `finished`."""

    def __init__(self, model: EngineModel, time: float) -> None:
        self.model = model
        self.time = time
        self.finished: list[Job] = []
        #: First tokens since they were last taken, as seconds to the first token.
        self.first_tokens: list[float] = []
        self.waiting: deque[Job] = deque()
        #: Requests that the last scheduling left waiting (`vllm:num_requests_waiting`): the scheduler reports
        #: what it could not place, not what arrived since.
        self.queued = 0
        self.kv_tokens = 0
        self.busy_seconds = 0.0
        self.prompt_tokens_total = 0
        self.answer_tokens_total = 0
        self.preemptions_total = 0
        self.cached_tokens_total = 0
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self._prefilling: deque[Job] = deque()
        self._prompt_left = 0
        #: Running sequences in the order they came, and a heap by the count at which they end.
        self._running: dict[int, Job] = {}
        self._ends: list[tuple[int, int]] = []
        self._count = 0
        self._names = count()

    @property
    def running(self) -> int:
        """Sequences in the batch (`vllm:num_requests_running`)."""
        return len(self._running) + len(self._prefilling)

    @property
    def load(self) -> int:
        """Requests that are here."""
        return self.running + len(self.waiting)

    def submit(self, job: Job) -> bool:
        """Take a request at its turn; False where it can never run or a bound is reached."""
        model = self.model
        # The engine refuses what is longer than its KV cache; it would be preempted by itself for ever.
        if job.prompt_tokens + job.answer_tokens > model.kv_tokens:
            return False
        if model.request_limit is not None and self.load >= model.request_limit:
            return False
        if model.queue_limit is not None and len(self.waiting) >= model.queue_limit and self.running:
            return False
        self.waiting.append(job)
        return True

    def abort(self) -> list[Job]:
        """Give up everything that is here."""
        dropped = [*self._running.values(), *self._prefilling, *self.waiting]
        self._running.clear()
        self._ends.clear()
        self._prefilling.clear()
        self.waiting.clear()
        self.kv_tokens = self._prompt_left = 0
        return dropped

    def advance(self, until: float) -> None:
        """Run every step that begins before `until`; the last one may end a little after it."""
        while self.time < until:
            if self.waiting:
                self._admit()
            self.queued = len(self.waiting)
            if self._prefilling:
                self._prompt_step()
            elif self._running:
                self._decode_span(until)
            else:
                self.time = until

    def _admit(self) -> None:
        """Let waiting requests in, in order, while the step has tokens and sequences, and the KV cache has room, left.

        What no token of the step is left for keeps waiting, and is counted as such: with long prompts the queue
        is what shows that a replica is full (vLLM v1 `core/sched/scheduler.py`: `while waiting and token_budget > 0`).
        """
        model, waiting = self.model, self.waiting
        budget = self._step_budget - (
            self._prompt_left + sum(each.compute for each in islice(self._prefilling, 1, None))
        )
        while waiting and budget > 0 and self.running < model.max_sequences:
            if self.kv_tokens + waiting[0].todo + self.running + 1 > model.kv_tokens and self.running:
                break
            job = waiting.popleft()
            if job.received and math.isnan(job.first_token):
                # What is known of the whole prompt still has to make a token of its last one.
                job.compute = 1
            elif job.blocks or model.cached_share:
                cached = self._cached(job)
                self.cached_tokens_total += cached
                self.prompt_tokens_total += cached
                job.compute = job.todo - cached
            else:
                job.compute = job.todo
            if not self._prefilling:
                self._prompt_left = job.compute
            self.kv_tokens += job.todo
            budget -= job.compute
            self._prefilling.append(job)

    def _cached(self, job: Job) -> int:
        """Tokens of a prompt that need not be computed; its last one always has to be."""
        model = self.model
        if not model.prefix_cache:
            return 0
        found = int(job.prompt_tokens * model.cached_share)
        if job.blocks:
            known = next((index for index, each in enumerate(job.blocks) if each not in self._blocks), len(job.blocks))
            found = known * BLOCK_TOKENS
        return min(found, job.prompt_tokens - 1)

    def _remember(self, job: Job) -> None:
        """The blocks of a prompt are in the cache; those that nobody asked for longest make room for them."""
        blocks = self._blocks
        for each in job.blocks:
            blocks[each] = None
            blocks.move_to_end(each)
        for _ in range(len(blocks) - self.model.kv_tokens // BLOCK_TOKENS):
            blocks.popitem(last=False)

    @property
    def _step_budget(self) -> int:
        """Tokens of prompts that the next step takes, beside one for each sequence."""
        return max(1, self.model.step_tokens - len(self._running))

    def _prompt_step(self) -> None:
        """One step with parts of prompts; those that are whole get their first token at its end."""
        model = self.model
        self._make_room()
        sequences = len(self._running)
        budget = self._step_budget
        computed = 0
        whole: list[Job] = []
        while self._prefilling and computed < budget:
            part = min(self._prompt_left, budget - computed)
            computed += part
            self._prompt_left -= part
            if not self._prompt_left:
                whole.append(self._prefilling.popleft())
                if self._prefilling:
                    self._prompt_left = self._prefilling[0].compute
        decode = model.step_seconds(sequences, self.kv_tokens)
        seconds = max(decode, decode - model.base + computed * model.per_prompt_token)
        self._pass(seconds, 1, sequences)
        self.prompt_tokens_total += computed
        for job in whole:
            self._first(job)
        self._finish()

    def _first(self, job: Job) -> None:
        if math.isnan(job.first_token):
            job.first_token = self.time
            self.first_tokens.append(job.time_to_first_token)
        if job.blocks and self.model.prefix_cache:
            self._remember(job)
        job.left -= 1
        job.todo = 0
        self.kv_tokens += 1
        self.answer_tokens_total += 1
        name = next(self._names)
        job.end_count = self._count + job.left
        self._running[name] = job
        heapq.heappush(self._ends, (job.end_count, name))

    def _decode_span(self, until: float) -> None:
        """Steps of one batch: to the next end, to a full KV cache, or past `until`, whatever comes first."""
        model = self.model
        self._make_room()
        sequences = len(self._running)
        while self._ends[0][1] not in self._running:
            heapq.heappop(self._ends)
        steps = min(self._ends[0][0] - self._count, (model.kv_tokens - self.kv_tokens) // sequences)
        first = model.step_seconds(sequences, self.kv_tokens)
        growth = model.per_kv_token * sequences
        # The sum of n steps is first x n + growth x n (n - 1) / 2; solved for the n that reaches `until`.
        linear = first - growth / 2
        left = until - self.time
        reach = 2 * left / (linear + math.sqrt(linear * linear + 2 * growth * left)) if left > 0 else 1.0
        steps = max(1, min(steps, math.ceil(reach)))
        self._pass(first * steps + growth * steps * (steps - 1) / 2, steps, sequences)
        self._finish()

    def _pass(self, seconds: float, steps: int, sequences: int) -> None:
        self.time += seconds
        self.busy_seconds += seconds
        self._count += steps
        self.kv_tokens += steps * sequences
        self.answer_tokens_total += steps * sequences

    def _make_room(self) -> None:
        """Put back the youngest sequences until a step's tokens fit into the KV cache."""
        while self.kv_tokens + self.running > self.model.kv_tokens and len(self._running) > (not self._prefilling):
            _, job = self._running.popitem()
            job.left = job.end_count - self._count
            job.todo = job.prompt_tokens + job.answer_tokens - job.left
            self.kv_tokens -= job.todo
            self.preemptions_total += 1
            self.waiting.appendleft(job)

    def _finish(self) -> None:
        ends, running = self._ends, self._running
        while ends and (ends[0][0] <= self._count or ends[0][1] not in running):
            _, name = heapq.heappop(ends)
            job = running.pop(name, None)
            if job is not None:
                job.finish = self.time
                job.left = 0
                self.kv_tokens -= job.prompt_tokens + job.answer_tokens
                self.finished.append(job)
