from __future__ import annotations

import asyncio
import math
import re
import subprocess
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from chartproof import toolchain
from chartproof.cluster.machines.engine_metrics import vllm_buckets
from chartproof.metrics import Presence, contract
from chartproof.versions import Version
from tests.cluster.machines.engines import LOAD_SECONDS, SPEED, completion, engine
from tests.cluster.machines.loopback import run, serving

VLLM = ((0, 11, 1), (0, 12, 0), (0, 17, 1), (0, 20, 2), (0, 29, 0), (0, 33, 0))
SGLANG = ((0, 5, 9), (0, 5, 23))
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class Page:
    """A parsed page: types by family, and label names and values by series."""

    types: dict[str, str] = field(default_factory=dict)
    series: dict[str, dict[tuple[tuple[str, str], ...], float]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Page:
        page = cls()
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                assert name not in page.types
                page.types[name] = kind
            elif not line.startswith("#"):
                match = _SAMPLE.match(line)
                assert match, line
                labels = tuple(_LABEL.findall(match[2] or ""))
                at = page.series.setdefault(match[1], {})
                assert labels not in at
                at[labels] = float(match[3])
        return page

    def labels(self, series: str) -> set[str]:
        return {name for labels in self.series[series] for name, _ in labels} - {"le"}

    def value(self, series: str, **labels: str) -> float:
        found = [value for at, value in self.series[series].items() if labels.items() <= dict(at).items()]
        assert len(found) == 1, series
        return found[0]


def page_of(kind: str, version: Version, *, requests: int = 6, **changes: object) -> str:
    """/metrics after some requests, streamed and not."""

    async def play() -> str:
        async with serving(engine(kind, version, **changes)) as client:
            await asyncio.sleep(SPEED.real(LOAD_SECONDS + 3))
            asked = [
                client.post("/v1/completions", completion(100 + i, 20 + i, stream=i % 2 == 0)) for i in range(requests)
            ]
            assert {each.status for each in await asyncio.gather(*asked)} <= {200}
            await client.get("/v1/nothing")
            answer = await client.get("/metrics")
            assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
            return answer.text

    return run(play())


def promtool(text: str) -> subprocess.CompletedProcess[str]:
    command = [str(toolchain.resolve("promtool")), "check", "metrics"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("kind", "version"), [*(("vllm", each) for each in VLLM), *(("sglang", each) for each in SGLANG)]
)
def test_prometheus_reads_the_page(kind: str, version: Version) -> None:
    done = promtool(page_of(kind, version))
    # 3: the engines' names break conventions; 1: the page cannot be read.
    assert done.returncode in {0, 3}, done.stderr
    assert "error while linting" not in done.stderr


def test_promtool_does_not_read_everything() -> None:
    assert promtool("vllm:a{b=c} 1\n").returncode == 1


@pytest.mark.parametrize("version", VLLM)
def test_vllm_exports_what_the_contract_has_of_its_version(version: Version) -> None:
    page = Page.parse(page_of("vllm", version))
    known = contract("vllm")
    expected = {
        series
        for metric in known.metrics.values()
        if not metric.condition
        and (metric.since is None or version >= metric.since)
        and not _too_new(metric.name, version)
        for series in metric.series
    }
    removed = {
        series
        for name in known.removed
        for series in (
            [name] if page.types.get(name) != "histogram" else [f"{name}_{end}" for end in ("bucket", "sum", "count")]
        )
        if known.look_up(name, version).presence is Presence.EXPORTED and name in _STILL_THERE
    }
    assert set(page.series) == expected | removed
    for name, metric in known.metrics.items():
        for series in set(metric.series) & set(page.series):
            family = series if metric.type in {"counter", "gauge"} else name
            assert page.types[family] == metric.type, name
            if "*" not in metric.labels:
                assert page.labels(series) == metric.labels, series
            for label, allowed in (metric.values or {}).items():
                assert {value for at in page.series[series] for key, value in at if key == label} <= set(allowed)


#: Removed metrics that the versions of this test still have: those of the engine before V1 are older.
_STILL_THERE = {"vllm:time_per_output_token_seconds", "vllm:prompt_tokens_recomputed_total"}


def _too_new(name: str, version: Version) -> bool:
    """Whether the release lacks a metric whose first one the contract leaves open (read in its loggers.py)."""
    since = {
        "vllm:request_prefill_kv_computed_tokens": (0, 13, 0),
        "vllm:prompt_tokens_by_source": (0, 16, 0),
        "vllm:prompt_tokens_cached": (0, 16, 0),
    }
    return version < since.get(name, (0, 0, 0))


@pytest.mark.parametrize("version", SGLANG)
def test_sglang_exports_only_what_the_contract_has(version: Version) -> None:
    page = Page.parse(page_of("sglang", version))
    known = contract("sglang")
    for series in page.series:
        metric = known.metric_of(series)
        assert metric is not None, series
        assert page.labels(series) <= metric.labels, series
        family = series if metric.type in {"counter", "gauge"} else metric.name
        assert page.types[family] == metric.type, series
    core = {"num_running_reqs", "num_queue_reqs", "token_usage", "num_used_tokens", "gen_throughput", "cache_hit_rate"}
    core |= {"utilization", "prompt_tokens_total", "generation_tokens_total", "num_requests_total"}
    core |= {"time_to_first_token_seconds_bucket", "inter_token_latency_seconds_bucket", "queue_time_seconds_bucket"}
    core |= {"e2e_request_latency_seconds_bucket", "http_requests_total", "http_responses_total"}
    assert {f"sglang:{each}" for each in core} <= set(page.series)


def test_sglang_splits_by_streaming_since_0_5_10() -> None:
    old, new = (Page.parse(page_of("sglang", version)) for version in SGLANG)
    assert "is_streaming" not in old.labels("sglang:num_requests_total")
    assert old.value("sglang:num_requests_total") == 6
    assert new.value("sglang:num_requests_total", is_streaming="true") == 3
    assert new.value("sglang:generation_tokens_total", is_streaming="false") == 21 + 23 + 25
    assert new.value("sglang:e2e_request_latency_seconds_count", is_streaming="true") == 3
    for page in (old, new):
        assert page.value("sglang:http_requests_active", endpoint="/metrics") == 1
        assert page.value("sglang:http_responses_total", endpoint="/v1/completions", status_code="200") == 6


def test_sglang_has_no_metrics_unless_told() -> None:
    async def play() -> int:
        async with serving(engine("sglang", (0, 5, 23), metrics=False)) as client:
            await asyncio.sleep(SPEED.real(LOAD_SECONDS) + 0.1)
            return (await client.get("/metrics")).status

    assert run(play()) == 404


def test_without_log_stats_only_http_is_counted() -> None:
    page = Page.parse(page_of("vllm", (0, 33, 0), log_stats=False))
    assert {series.partition("_")[0] for series in page.series} == {"http"}
    assert page.value("http_requests_total", handler="/v1/completions", status="2xx", method="POST") == 6


def test_values_add_up() -> None:
    page = Page.parse(page_of("vllm", (0, 33, 0)))
    prompt, answer = sum(100 + i for i in range(6)), sum(20 + i for i in range(6))
    assert page.value("vllm:prompt_tokens_total") == prompt
    assert page.value("vllm:generation_tokens_total") == answer
    assert page.value("vllm:iteration_tokens_total_sum") == prompt + answer
    assert page.value("vllm:request_success_total", finished_reason="length") == 6
    assert page.value("vllm:request_success_total", finished_reason="abort") == 0
    assert page.value("vllm:inter_token_latency_seconds_count") == answer - 6
    assert page.value("vllm:request_params_max_tokens_sum") == answer
    assert page.value("vllm:num_requests_running") == page.value("vllm:num_requests_waiting") == 0
    assert page.value("vllm:kv_cache_usage_perc") == 0
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_queue_time_seconds"):
        assert page.value(f"vllm:{name}_count") == 6
        assert page.value(f"vllm:{name}_bucket", le="+Inf") == 6
    # Six prompts fit into a step, and an answer of 20 tokens takes 20 steps of about 0.02 s.
    assert page.value("vllm:e2e_request_latency_seconds_bucket", le="0.3") == 0
    assert page.value("vllm:e2e_request_latency_seconds_bucket", le="0.8") == 6


def test_http_is_counted_by_route() -> None:
    page = Page.parse(page_of("vllm", (0, 33, 0)))
    assert page.value("http_requests_total", handler="/v1/completions", method="POST", status="2xx") == 6
    assert page.value("http_requests_total", handler="none", method="GET", status="4xx") == 1
    assert not [at for at in page.series["http_requests_total"] if ("handler", "/metrics") in at]
    assert page.value("http_request_duration_highr_seconds_count") == 7


def test_an_untouched_engine_has_its_families_at_zero() -> None:
    page = Page.parse(page_of("vllm", (0, 33, 0), requests=0))
    assert page.value("vllm:num_requests_waiting") == 0
    assert page.value("vllm:request_success_total", finished_reason="stop") == 0
    assert "http_requests_total" in page.types
    empty = Page.parse(page_of("sglang", (0, 5, 23), requests=0))
    assert "sglang:num_requests_total" not in empty.series


def test_series_never_shrink_over_time() -> None:
    async def play() -> list[Page]:
        pages = []
        async with serving(engine()) as client:
            await asyncio.sleep(SPEED.real(LOAD_SECONDS) + 0.1)
            asked = [asyncio.ensure_future(client.post("/v1/completions", completion(50, 300))) for _ in range(80)]
            while not all(each.done() for each in asked):
                pages.append(Page.parse((await client.get("/metrics")).text))
                await asyncio.sleep(0.1)
        return pages

    pages = run(play())
    assert max(page.value("vllm:num_requests_waiting") for page in pages) == 16
    assert max(page.value("vllm:num_requests_running") for page in pages) == 64
    assert 0 < max(page.value("vllm:kv_cache_usage_perc") for page in pages) <= 1
    for earlier, later in pairwise(pages):
        for series, samples in earlier.series.items():
            if series.endswith(("_total", "_bucket", "_sum", "_count")):
                assert all(later.series[series][at] >= value for at, value in samples.items()), series


def test_buckets_of_token_counts_end_with_the_context() -> None:
    assert vllm_buckets(8192).tokens == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
    for bounds in (vllm_buckets(8192).first_token, vllm_buckets(8192).end_to_end):
        assert list(bounds) == sorted(set(bounds))
        assert not any(math.isinf(each) for each in bounds)
