from __future__ import annotations

import pytest

from chartproof.metrics import EXPORTERS, Presence, contract, exporter_of, look_up, looks_cumulative, metric_of


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_every_series_belongs_to_one_metric(exporter: str) -> None:
    known = contract(exporter)
    series = [each for metric in known.metrics.values() for each in metric.series]
    assert len(series) == len(set(series))
    assert all(known.metric_of(each) is not None for each in series)
    assert not set(known.removed) & set(series)


def test_the_kv_cache_gauge_was_renamed() -> None:
    old = "vllm:gpu_cache_usage_perc"
    by_version = {
        version: found.presence
        for version in ((0, 10, 2), (0, 11, 0), (0, 12, 0))
        if (found := look_up(old, {"vllm": version}))
    }
    assert list(by_version.values()) == [Presence.EXPORTED, Presence.HIDDEN, Presence.REMOVED]
    found = look_up(old)
    assert found is not None
    assert found.suggestion == "vllm:kv_cache_usage_perc"


def test_a_metric_newer_than_the_engine_is_too_new() -> None:
    found = look_up("vllm:num_requests_waiting_by_reason", {"vllm": (0, 19, 1)})
    assert found is not None
    assert found.presence is Presence.TOO_NEW
    assert "0.20.0" in found.reason


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("vllm_num_requests_waiting", "vllm:num_requests_waiting"),
        ("vllm:num_request_waiting", "vllm:num_requests_waiting"),
        ("vllm:request_success", "vllm:request_success_total"),
        ("vllm:prompt_tokens", "vllm:prompt_tokens_total"),
        ("vllm_gpu_cache_usage_perc", "vllm:kv_cache_usage_perc"),
        ("sglang:num_queue_req", "sglang:num_queue_reqs"),
        ("DCGM_FI_DEV_GPU_TEMPERATURE", "DCGM_FI_DEV_GPU_TEMP"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(wrong: str, right: str) -> None:
    found = look_up(wrong)
    assert found is not None
    assert found.presence in {Presence.UNKNOWN, Presence.REMOVED}
    assert found.suggestion == right


def test_a_counter_that_was_renamed_by_its_ending_is_there() -> None:
    gone, there = look_up("sglang:num_aborted_requests"), look_up("sglang:num_aborted_requests_total")
    assert gone is not None
    assert there is not None
    assert gone.presence is Presence.REMOVED
    assert there.presence is Presence.EXPORTED


def test_an_iteration_counter_is_a_histogram() -> None:
    assert metric_of("vllm:iteration_tokens_total_count") is not None
    found = look_up("vllm:iteration_tokens_total")
    assert found is not None
    assert found.presence is Presence.UNKNOWN


def test_other_exporters_are_none_of_our_business() -> None:
    assert exporter_of("kube_deployment_status_replicas_ready") is None
    assert look_up("up") is None
    assert exporter_of("ray_vllm_num_requests_running") is None


@pytest.mark.parametrize(
    ("series", "grows"),
    [
        ("vllm:prompt_tokens_total", True),
        ("vllm:e2e_request_latency_seconds_sum", True),
        ("vllm:num_requests_running", False),
        ("http_requests_total", True),
        ("nginx_ingress_controller_requests_total", True),
        ("kube_deployment_status_replicas_ready", False),
        ("DCGM_FI_DEV_FB_USED", False),
        ("node_memory_MemTotal_bytes", False),
    ],
)
def test_cumulative_series_are_known(series: str, grows: bool) -> None:
    assert looks_cumulative(series) is grows
