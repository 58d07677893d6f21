"""/metrics of a played vLLM: the families that its version has, with the values of the played batch.

Which metric exists from when to when, its labels and buckets were read in the releases 0.11.1 to 0.33.0
(`v1/metrics/loggers.py`, `buckets.py`, `entrypoints/serve/instrumentator/metrics.py`); the HTTP metrics are
those of prometheus-fastapi-instrumentator 7.1 (`metrics.py`). Left out: `_created` series, which nobody asks
for, metrics of features that are not played (speculation, LoRA, connectors), and the process metrics of Python's
client library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from chartproof.cluster.machines.exposition import Family, Histogram, Labels, Summary, Value, labels
from chartproof.cluster.machines.played_engine import Buckets, MeteredEngine
from chartproof.versions import Version

#: Size of a block of the KV cache, tokens (vLLM's default on CUDA).
BLOCK_TOKENS = 16

_SECONDS: tuple[float, ...] = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0),
    *(480.0, 960.0, 1920.0, 7680.0),
)
_FIRST_TOKEN: tuple[float, ...] = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0),
    *(40.0, 80.0, 160.0, 640.0, 2560.0),
)
_INTER_TOKEN: tuple[float, ...] = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0),
    *(40.0, 80.0),
)
_ITERATION = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


def vllm_buckets(context_tokens: int) -> Buckets:
    """Of vLLM, all versions; those of token counts end with the longest context."""
    tokens: list[float] = []
    for exponent in range(len(str(context_tokens))):
        tokens += [each for digit in (1, 2, 5) if (each := digit * 10**exponent) <= context_tokens]
    return Buckets(_FIRST_TOKEN, _INTER_TOKEN, _SECONDS, _SECONDS, _SECONDS, _ITERATION, tuple(tokens))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the metrics tell of the engine beside what it did."""

    model_name: str
    version: Version
    context_tokens: int
    gpu_memory_utilization: float
    prefix_caching: bool = True
    log_stats: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """What metrics are made of."""

    facts: Facts
    engine: MeteredEngine


Sample = tuple[Mapping[str, str], Value]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of an engine: from and until (exclusive) which version, and its samples with their further labels."""

    name: str
    type: str
    help: str
    samples: Callable[[State], Iterable[Sample]]
    since: Version = (0, 0, 0)
    until: Version | None = None

    def exists(self, version: Version) -> bool:
        """Whether that version exports it."""
        return self.since <= version and (self.until is None or version < self.until)


def one(read: Callable[[State], Value]) -> Callable[[State], Iterable[Sample]]:
    """Of a metric with one sample."""
    return lambda state: [({}, read(state))]


def _by(label: str, read: Callable[[State], Mapping[str, float]]) -> Callable[[State], Iterable[Sample]]:
    return lambda state: [({label: key}, value) for key, value in read(state).items()]


def _finish_reasons(state: State) -> Mapping[str, float]:
    version = state.facts.version
    reasons = ["stop", "length", "abort"]
    reasons += ["error"] if version >= (0, 13, 0) else []
    reasons += ["repetition"] if version >= (0, 17, 0) else []
    return {reason: state.engine.meter.finished.get(reason, 0) for reason in reasons}


def _queried(state: State) -> float:
    return state.engine.meter.prompt_tokens if state.facts.prefix_caching else 0


def kv_usage(engine: MeteredEngine) -> float:
    """Share of the KV cache that running requests hold."""
    return engine.kv_tokens / engine.model.kv_tokens


def _cache_config(state: State) -> Iterable[Sample]:
    facts = state.facts
    yield (
        {
            "block_size": str(BLOCK_TOKENS),
            "enable_prefix_caching": str(facts.prefix_caching),
            "gpu_memory_utilization": str(facts.gpu_memory_utilization),
            "num_gpu_blocks": str(state.engine.model.kv_tokens // BLOCK_TOKENS),
        },
        1,
    )


VLLM: Sequence[Metric] = (
    Metric("vllm:num_requests_running", "gauge", "Requests in the batch.", one(lambda s: s.engine.running)),
    Metric("vllm:num_requests_waiting", "gauge", "Requests that wait for a place.", one(lambda s: s.engine.queued)),
    Metric(
        "vllm:num_requests_waiting_by_reason",
        "gauge",
        "Waiting requests by what they wait for.",
        _by("reason", lambda s: {"capacity": s.engine.queued, "deferred": 0}),
        since=(0, 20, 0),
    ),
    Metric(
        "vllm:engine_sleep_state",
        "gauge",
        "Whether the engine is awake.",
        _by("sleep_state", lambda _: {"weights_offloaded": 0, "awake": 1, "discard_all": 0}),
    ),
    Metric(
        "vllm:kv_cache_usage_perc", "gauge", "Share of the KV cache in use, 0 to 1.", one(lambda s: kv_usage(s.engine))
    ),
    Metric("vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked up in the prefix cache.", one(_queried)),
    Metric("vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", one(lambda _: 0)),
    Metric(
        "vllm:external_prefix_cache_queries_total",
        "counter",
        "Tokens looked up through a connector.",
        one(lambda _: 0),
    ),
    Metric("vllm:external_prefix_cache_hits_total", "counter", "Tokens found through a connector.", one(lambda _: 0)),
    Metric("vllm:mm_cache_queries_total", "counter", "Multi-modal items looked up.", one(lambda _: 0)),
    Metric("vllm:mm_cache_hits_total", "counter", "Multi-modal items found.", one(lambda _: 0)),
    Metric("vllm:num_preemptions_total", "counter", "Requests put back.", one(lambda s: s.engine.preemptions_total)),
    Metric(
        "vllm:prompt_tokens_total", "counter", "Prompt tokens processed.", one(lambda s: s.engine.meter.prompt_tokens)
    ),
    Metric(
        "vllm:prompt_tokens_by_source_total",
        "counter",
        "Prompt tokens by where they came from.",
        _by(
            "source",
            lambda s: {"local_compute": s.engine.meter.prompt_tokens, "local_cache_hit": 0, "external_kv_transfer": 0},
        ),
        since=(0, 16, 0),
    ),
    Metric(
        "vllm:prompt_tokens_cached_total", "counter", "Prompt tokens from caches.", one(lambda _: 0), since=(0, 16, 0)
    ),
    Metric(
        "vllm:prompt_tokens_recomputed_total",
        "counter",
        "Cached prompt tokens computed again.",
        one(lambda _: 0),
        since=(0, 16, 0),
        until=(0, 20, 0),
    ),
    Metric(
        "vllm:prompt_tokens_cached_by_source_total",
        "counter",
        "Prompt tokens from caches by tier.",
        _by("source", lambda _: {"device": 0}),
        since=(0, 32, 0),
    ),
    Metric("vllm:generation_tokens_total", "counter", "Tokens made.", one(lambda s: s.engine.answer_tokens_total)),
    Metric(
        "vllm:request_success_total", "counter", "Finished requests by reason.", _by("finished_reason", _finish_reasons)
    ),
    Metric(
        "vllm:request_prompt_tokens",
        "histogram",
        "Prompt tokens of a request.",
        one(lambda s: s.engine.meter.request_prompt_tokens),
    ),
    Metric(
        "vllm:request_generation_tokens",
        "histogram",
        "Tokens of an answer.",
        one(lambda s: s.engine.meter.request_answer_tokens),
    ),
    Metric(
        "vllm:iteration_tokens_total",
        "histogram",
        "Tokens of an engine step.",
        one(lambda s: s.engine.meter.iteration_tokens),
    ),
    Metric(
        "vllm:request_max_num_generation_tokens",
        "histogram",
        "Longest of a request's answers, in tokens.",
        one(lambda s: s.engine.meter.request_longest_answer),
    ),
    Metric("vllm:request_params_n", "histogram", "Answers asked for.", one(lambda s: s.engine.meter.request_samples)),
    Metric(
        "vllm:request_params_max_tokens",
        "histogram",
        "Longest answer asked for.",
        one(lambda s: s.engine.meter.request_max_tokens),
    ),
    Metric(
        "vllm:time_to_first_token_seconds",
        "histogram",
        "Arrival to first token.",
        one(lambda s: s.engine.meter.time_to_first_token),
    ),
    Metric(
        "vllm:time_per_output_token_seconds",
        "histogram",
        "Time between two tokens, under its old name.",
        one(lambda s: s.engine.meter.inter_token_latency),
        until=(0, 12, 0),
    ),
    Metric(
        "vllm:inter_token_latency_seconds",
        "histogram",
        "Time between two tokens.",
        one(lambda s: s.engine.meter.inter_token_latency),
    ),
    Metric(
        "vllm:request_time_per_output_token_seconds",
        "histogram",
        "Mean time between two tokens of a request.",
        one(lambda s: s.engine.meter.time_per_output_token),
    ),
    Metric(
        "vllm:e2e_request_latency_seconds",
        "histogram",
        "Arrival to last token.",
        one(lambda s: s.engine.meter.end_to_end),
    ),
    Metric(
        "vllm:request_queue_time_seconds", "histogram", "Time before the batch.", one(lambda s: s.engine.meter.queue)
    ),
    Metric(
        "vllm:request_inference_time_seconds",
        "histogram",
        "Time in the batch.",
        one(lambda s: s.engine.meter.inference),
    ),
    Metric(
        "vllm:request_prefill_time_seconds", "histogram", "Time of the prompt.", one(lambda s: s.engine.meter.prefill)
    ),
    Metric(
        "vllm:request_decode_time_seconds", "histogram", "First to last token.", one(lambda s: s.engine.meter.decode)
    ),
    Metric(
        "vllm:request_num_preemptions",
        "histogram",
        "Times a request was put back.",
        one(lambda s: s.engine.meter.request_preemptions),
        since=(0, 30, 0),
    ),
    Metric(
        "vllm:request_prefill_kv_computed_tokens",
        "histogram",
        "Prompt tokens of a request that were computed.",
        one(lambda s: s.engine.meter.request_computed_tokens),
        since=(0, 13, 0),
    ),
)


def vllm_families(state: State) -> list[Family]:
    """What vLLM of that version exports of the engine itself; nothing with `--disable-log-stats`."""
    facts = state.facts
    if not facts.log_stats:
        return []
    # Data-parallel engines are played as one.
    common = {"model_name": facts.model_name, "engine": "0"}
    found = [family(each, common, state) for each in VLLM if each.exists(facts.version)]
    if facts.version >= (0, 32, 0):
        rejected = {"max_num_queued_reqs": state.engine.meter.admission_rejections, "max_num_queued_tokens": 0}
        found.append(
            Family(
                "vllm:admission_rejections_total",
                "counter",
                "Requests refused by a limit of the queue.",
                [(labels({"model_name": facts.model_name, "reason": key}), value) for key, value in rejected.items()],
            )
        )
    info = Metric("vllm:cache_config_info", "gauge", "The KV cache's configuration.", _cache_config)
    return [*found, family(info, {"engine": "0"}, state)]


def family(metric: Metric, common: Mapping[str, str], state: State) -> Family:
    """The metric's samples, with these labels on each."""
    samples = [(labels({**common, **more}), value) for more, value in metric.samples(state)]
    return Family(metric.name, metric.type, metric.help, samples)


_LATENCY: tuple[float, ...] = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 7.5, 10, 30),
    *(60,),
)
_COARSE_LATENCY = (0.1, 0.5, 1)
#: Paths that vLLM's instrumentation leaves out, by prefix.
_UNCOUNTED = ("/metrics", "/health", "/load", "/ping", "/version", "/server_info")


class HttpMeter:
    """vLLM's HTTP metrics: every answer by handler (a route's path, `none` for others), method and class of status."""

    def __init__(self) -> None:
        self.requests: dict[Labels, float] = {}
        self.request_bytes: dict[Labels, Summary] = {}
        self.response_bytes: dict[Labels, Summary] = {}
        self.latency = Histogram(_LATENCY)
        self.latency_by_handler: dict[Labels, Histogram] = {}

    def count(self, path: str, handler: str, method: str, status: int, seconds: float, sizes: tuple[int, int]) -> None:
        """Count an answer; `sizes` are bytes of request and answer as their headers say, 0 without one."""
        if path.startswith(_UNCOUNTED):
            return
        key = labels({"method": method, "status": f"{status // 100}xx", "handler": handler})
        self.requests[key] = self.requests.get(key, 0) + 1
        of_handler = labels({"handler": handler})
        self.request_bytes.setdefault(of_handler, Summary()).observe(sizes[0])
        self.response_bytes.setdefault(of_handler, Summary()).observe(sizes[1])
        self.latency.observe(seconds)
        by = labels({"method": method, "handler": handler})
        self.latency_by_handler.setdefault(by, Histogram(_COARSE_LATENCY)).observe(seconds)

    def families(self) -> list[Family]:
        """All of them; series of a handler exist from its first answer on."""
        return [
            Family(
                "http_requests_total",
                "counter",
                "Answers by method, class of status and handler.",
                samples(self.requests),
            ),
            Family("http_request_size_bytes", "summary", "Content length of requests.", samples(self.request_bytes)),
            Family("http_response_size_bytes", "summary", "Content length of answers.", samples(self.response_bytes)),
            Family("http_request_duration_highr_seconds", "histogram", "Seconds of an answer.", [((), self.latency)]),
            Family(
                "http_request_duration_seconds",
                "histogram",
                "Seconds of an answer by method and handler.",
                samples(self.latency_by_handler),
            ),
        ]


def samples(values: Mapping[Labels, Value]) -> list[tuple[Labels, Value]]:
    """A family's samples, kept by their labels."""
    return list(values.items())
