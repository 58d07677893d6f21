"""/metrics of a played SGLang (only with `--enable-metrics`): the families of its version, with the played values.

Read in the releases 0.5.9 and 0.5.23 (`srt/observability/metrics_collector.py`, formerly `srt/metrics/collector.py`,
and `http_request_metrics.py`). SGLang collects from several processes, so that a metric exists from its first
value on. Left out: metrics of features that are not played (speculation, hierarchical cache, grammars,
disaggregation, mixture of experts) and the split of scheduler time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat

from chartproof.cluster.machines.engine_metrics import Metric, State, family, kv_usage, one, samples
from chartproof.cluster.machines.exposition import Family, Histogram, Labels, Summary, Value, labels
from chartproof.cluster.machines.played_engine import Buckets, MeteredEngine, Ticket

_FIRST_TOKEN = (0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400)
_END_TO_END = (*_FIRST_TOKEN, 600, 1200, 1800, 2400)
_INTER_TOKEN: tuple[float, ...] = (
    *(0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2),
    *(0.4, 0.6, 0.8, 1, 2, 4, 6, 8),
)
_QUEUE: tuple[float, ...] = (
    *(0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 10, 15, *range(20, 101, 10), *range(200, 1001, 100)),
    *(1200, 1400, 1600, 1800, 2000, 2500, 3000),
)
_TOKENS: tuple[float, ...] = (
    *(100, 300, 500, 700, 1000, 1500, *range(2000, 10001, 1000), *range(12500, 30001, 2500), 35000, 40000),
    *(60000, 80000, 100000, 200000, 300000, 400000, 600000, 800000, 1000000, 1100000),
)
_STAGE = tuple(accumulate(repeat(1.62, 29), lambda bound, width: bound * width, initial=0.001))


def sglang_buckets() -> Buckets:
    """Of SGLang; its histograms differ between request phases."""
    return Buckets(
        _FIRST_TOKEN,
        _INTER_TOKEN,
        _STAGE,
        _END_TO_END,
        _QUEUE,
        (1,),
        _TOKENS,
    )


SGLANG_SCHEDULER: Sequence[Metric] = (
    Metric("sglang:num_running_reqs", "gauge", "Running requests.", one(lambda s: s.engine.running)),
    Metric("sglang:num_queue_reqs", "gauge", "Waiting requests.", one(lambda s: s.engine.queued)),
    Metric("sglang:num_grammar_queue_reqs", "gauge", "Requests that wait for a grammar.", one(lambda _: 0)),
    Metric("sglang:gen_throughput", "gauge", "Tokens made per second.", one(lambda s: _throughput(s.engine))),
    Metric("sglang:cache_hit_rate", "gauge", "Hit rate of the prefix cache.", one(lambda _: 0)),
    Metric(
        "sglang:decode_sum_seq_lens", "gauge", "Tokens of all running sequences.", one(lambda s: s.engine.kv_tokens)
    ),
    Metric("sglang:token_usage", "gauge", "Share of the KV cache in use, 0 to 1.", one(lambda s: kv_usage(s.engine))),
    Metric(
        "sglang:full_token_usage",
        "gauge",
        "The same for layers with full attention.",
        one(lambda s: kv_usage(s.engine)),
        since=(0, 5, 10),
    ),
    Metric("sglang:swa_token_usage", "gauge", "The same for layers with a window.", one(lambda _: 0)),
    Metric("sglang:mamba_usage", "gauge", "The same for state-space layers.", one(lambda _: 0)),
    Metric("sglang:num_used_tokens", "gauge", "Tokens in the KV cache.", one(lambda s: s.engine.kv_tokens)),
    Metric(
        "sglang:kv_available_tokens",
        "gauge",
        "Free tokens of the KV cache.",
        one(lambda s: s.engine.model.kv_tokens - s.engine.kv_tokens),
        since=(0, 5, 10),
    ),
    Metric("sglang:kv_evictable_tokens", "gauge", "Cached tokens that may go.", one(lambda _: 0), since=(0, 5, 10)),
    Metric("sglang:kv_used_tokens", "gauge", "Tokens in use.", one(lambda s: s.engine.kv_tokens), since=(0, 5, 10)),
    Metric("sglang:num_retracted_reqs", "gauge", "Requests put back in the last step.", one(lambda _: 0)),
    Metric(
        "sglang:num_retracted_requests_total",
        "counter",
        "Requests put back.",
        one(lambda s: s.engine.preemptions_total),
    ),
    Metric("sglang:num_paused_reqs", "gauge", "Requests paused for new weights.", one(lambda _: 0)),
    Metric("sglang:utilization", "gauge", "Share of the sequences that objectives allow.", one(lambda _: 0)),
    Metric(
        "sglang:is_cuda_graph",
        "gauge",
        "Whether a CUDA graph runs the batch.",
        one(lambda s: min(1, s.engine.running)),
    ),
    Metric("sglang:queue_time_seconds", "histogram", "Time before the batch.", one(lambda s: s.engine.meter.queue)),
    Metric(
        "sglang:max_total_num_tokens",
        "gauge",
        "Tokens that the KV cache holds.",
        one(lambda s: s.engine.model.kv_tokens),
    ),
    Metric("sglang:page_size", "gauge", "Tokens of a page.", one(lambda _: 1), since=(0, 5, 10)),
    Metric(
        "sglang:num_pages",
        "gauge",
        "Pages of the KV cache.",
        one(lambda s: s.engine.model.kv_tokens),
        since=(0, 5, 10),
    ),
    Metric("sglang:context_len", "gauge", "Longest context.", one(lambda s: s.facts.context_tokens), since=(0, 5, 10)),
)


def _throughput(engine: MeteredEngine) -> float:
    """Of the batch as it is now."""
    running = engine.running
    return running / engine.model.step_seconds(running, engine.kv_tokens) if running else 0.0


@dataclass(slots=True)
class StreamMeter:
    """SGLang counts finished requests apart, by whether they streamed (`is_streaming`, after 0.5.9)."""

    buckets: Buckets
    requests: dict[str, int] = field(default_factory=dict)
    aborted: int = 0
    prompt_tokens: dict[str, int] = field(default_factory=dict)
    answer_tokens: dict[str, int] = field(default_factory=dict)
    time_to_first_token: dict[str, Histogram] = field(default_factory=dict)
    time_per_output_token: dict[str, Histogram] = field(default_factory=dict)
    end_to_end: dict[str, Histogram] = field(default_factory=dict)

    def first_token(self, seconds: float, *, stream: bool) -> None:
        """Count a first token."""
        self._of(self.time_to_first_token, stream, self.buckets.first_token).observe(seconds)

    def finished(self, ticket: Ticket) -> None:
        """Count a whole answer."""
        key = _truth(ticket.stream)
        self.requests[key] = self.requests.get(key, 0) + 1
        self.prompt_tokens[key] = self.prompt_tokens.get(key, 0) + ticket.prompt_tokens
        self.answer_tokens[key] = self.answer_tokens.get(key, 0) + ticket.answer_tokens
        self._of(self.end_to_end, ticket.stream, self.buckets.end_to_end).observe(ticket.end_to_end)
        if ticket.answer_tokens > 1:
            mean = (ticket.finish - ticket.first_token) / (ticket.answer_tokens - 1)
            self._of(self.time_per_output_token, ticket.stream, self.buckets.inter_token).observe(mean)

    @staticmethod
    def _of(histograms: dict[str, Histogram], stream: bool, bounds: Sequence[float]) -> Histogram:
        return histograms.setdefault(_truth(stream), Histogram(bounds))


def _truth(value: bool) -> str:
    return str(value).lower()


def sglang_families(state: State, streams: StreamMeter) -> list[Family]:
    """What SGLang of that version exports; series of requests exist from the first one on, as its client makes them."""
    facts, meter = state.facts, state.engine.meter
    clients = {"model_name": facts.model_name, "engine_type": "unified"}
    common = {**clients, "tp_rank": "0", "pp_rank": "0", "moe_ep_rank": "0"}
    found = [family(each, common, state) for each in SGLANG_SCHEDULER if each.exists(facts.version)]

    def split(name: str, kind: str, text: str, values: Mapping[str, Value]) -> None:
        if facts.version >= (0, 5, 10):
            samples = [(labels({**clients, "is_streaming": key}), value) for key, value in values.items()]
        else:
            samples = [(labels(clients), merged)] if (merged := _merged(list(values.values()))) is not None else []
        found.append(Family(name, kind, text, samples))

    def plain(name: str, kind: str, text: str, value: Value) -> None:
        counted = value.count if isinstance(value, Histogram | Summary) else value
        found.append(Family(name, kind, text, [(labels(clients), value)] if counted else []))

    split("sglang:prompt_tokens_total", "counter", "Prompt tokens of finished requests.", streams.prompt_tokens)
    split("sglang:generation_tokens_total", "counter", "Tokens of finished answers.", streams.answer_tokens)
    split("sglang:num_requests_total", "counter", "Finished requests.", streams.requests)
    split("sglang:time_to_first_token_seconds", "histogram", "Arrival to first token.", streams.time_to_first_token)
    split("sglang:e2e_request_latency_seconds", "histogram", "Arrival to last token.", streams.end_to_end)
    if facts.version >= (0, 5, 10):
        split(
            "sglang:request_time_per_output_token_seconds",
            "histogram",
            "Mean time between two tokens of a request.",
            streams.time_per_output_token,
        )
    plain("sglang:inter_token_latency_seconds", "histogram", "Time between two tokens.", meter.inter_token_latency)
    plain("sglang:num_aborted_requests_total", "counter", "Requests given up.", streams.aborted)
    return found


def _merged(values: Sequence[Value]) -> Value | None:
    """The same over all."""
    if not values:
        return None
    first = values[0]
    if not isinstance(first, Histogram):
        return sum(each for each in values if isinstance(each, int | float))
    total = Histogram(first.bounds)
    for each in values:
        if isinstance(each, Histogram):
            total.counts = [ours + theirs for ours, theirs in zip(total.counts, each.counts, strict=True)]
            total.count += each.count
            total.sum += each.sum
    return total


class SglangHttpMeter:
    """SGLang's HTTP metrics: requests when they come, answers by status, and those being answered."""

    def __init__(self) -> None:
        self.requests: dict[Labels, float] = {}
        self.responses: dict[Labels, float] = {}
        self.active: dict[Labels, float] = {}

    def begin(self, endpoint: str, method: str) -> None:
        """A request came."""
        key = labels({"endpoint": endpoint, "method": method})
        self.requests[key] = self.requests.get(key, 0) + 1
        self.active[key] = self.active.get(key, 0) + 1

    def end(self, endpoint: str, method: str, status: int | None) -> None:
        """It is answered; None: it broke off."""
        self.active[labels({"endpoint": endpoint, "method": method})] -= 1
        if status is not None:
            key = labels({"endpoint": endpoint, "status_code": str(status), "method": method})
            self.responses[key] = self.responses.get(key, 0) + 1

    def families(self) -> list[Family]:
        """All of them."""
        return [
            Family("sglang:http_requests_total", "counter", "Requests.", samples(self.requests)),
            Family("sglang:http_responses_total", "counter", "Answers by status.", samples(self.responses)),
            Family("sglang:http_requests_active", "gauge", "Requests being answered.", samples(self.active)),
        ]
