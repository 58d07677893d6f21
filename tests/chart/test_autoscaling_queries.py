"""What Prometheus itself makes of the triggers' queries: 0 for idleness, nothing for lost targets."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof import toolchain
from tests.chart.conftest import Render
from tests.chart.test_autoscaling import FIRST_TOKEN, KV_CACHE, SCALED, scaled_object, triggers

ASLEEP = {"autoscaling": {"minReplicas": 0, "wake": {"query": 'rate(gateway_requests_total{route="chat"}[1m])'}}}
READY = 'kube_deployment_status_replicas_ready{namespace="llm",deployment="llm-llm-inference"}'
Series = Mapping[str, str]


def replica(metric: str, pod: str, *labels: str) -> str:
    """A series of one replica."""
    fixed = ['namespace="llm"', 'model_name="Qwen/Qwen2.5-7B-Instruct"', f'pod="llm-llm-inference-5d8f-{pod}"']
    return f"vllm:{metric}{{{','.join([*fixed, *labels])}}}"


def running(pod: str) -> str:
    return replica("num_requests_running", pod)


def steady(number: float) -> str:
    """The same sample at every scrape of ten minutes."""
    return f"{number}x40"


def lost(number: float) -> str:
    """Samples until the target is lost in minute two."""
    return f"{number}x8 stale"


@pytest.fixture
def queries(render: Render) -> dict[str, str]:
    document = scaled_object(render, KV_CACHE, FIRST_TOKEN, ASLEEP)
    return {name: each["metadata"]["query"] for name, each in triggers(document).items()}


def evaluate(tmp_path: Path, cases: list[tuple[str, Series, float | None]]) -> None:
    """Let promtool evaluate each query five minutes into its series; None stands for an empty result."""
    tests: list[dict[str, Any]] = [
        {
            "interval": "15s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {
                    "expr": query,
                    "eval_time": "5m",
                    "exp_samples": [] if expected is None else [{"labels": "{}", "value": expected}],
                }
            ],
        }
        for query, series, expected in cases
    ]
    file = tmp_path / "queries.yaml"
    checks = {"rule_files": [], "evaluation_interval": "15s", "fuzzy_compare": True, "tests": tests}
    file.write_text(yaml.safe_dump(checks), encoding="utf-8")
    done = subprocess.run(
        [toolchain.resolve("promtool"), "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_guarded_queries_tell_idleness_from_lost_targets(tmp_path: Path, queries: dict[str, str]) -> None:
    metrics = {"running": "num_requests_running", "waiting": "num_requests_waiting", "kv_cache": "kv_cache_usage_perc"}
    cases: list[tuple[str, Series, float | None]] = []
    for name, metric in metrics.items():
        one, two = replica(metric, "aaaaa"), replica(metric, "bbbbb")
        foreign = replica(metric, "aaaaa").replace('"llm"', '"other"')
        cases += [
            (queries[name], {READY: steady(0)}, 0),
            (queries[name], {one: steady(3), two: steady(4), READY: steady(2)}, 7),
            (queries[name], {one: steady(3), foreign: steady(9), READY: steady(1)}, 3),
            (queries[name], {one: steady(3), READY: steady(0)}, 3),  # ready is late, or the replica loads
            (queries[name], {one: lost(3), READY: steady(1)}, None),
            (queries[name], {one: steady(3), two: lost(4), READY: steady(2)}, None),
            (queries[name], {one: steady(3), two: steady(4)}, 7),  # kube-state-metrics is lost
            (queries[name], {}, None),  # everything is lost
        ]
    evaluate(tmp_path, cases)


def test_two_reporters_of_kube_state_do_not_double_the_replicas(tmp_path: Path, queries: dict[str, str]) -> None:
    twice = {READY.replace("{", '{instance="a",'): steady(1), READY.replace("{", '{instance="b",'): steady(1)}
    evaluate(tmp_path, [(queries["running"], {running("aaaaa"): steady(3), **twice}, 3)])


def test_replicas_counts_those_that_report(tmp_path: Path, queries: dict[str, str]) -> None:
    two = {running("aaaaa"): steady(3), running("bbbbb"): steady(0), READY: steady(2)}
    evaluate(tmp_path, [(queries["replicas"], two, 2), (queries["replicas"], {READY: steady(0)}, 0)])


def test_first_token_is_zero_when_idle_and_missing_when_targets_are_lost(
    tmp_path: Path, queries: dict[str, str]
) -> None:
    def buckets(per_scrape: int) -> dict[str, str]:
        name = "time_to_first_token_seconds_bucket"
        return {
            replica(name, "aaaaa", 'le="1"'): "0x40",
            replica(name, "aaaaa", 'le="3"'): f"0+{per_scrape}x40",
            replica(name, "aaaaa", 'le="+Inf"'): f"0+{per_scrape}x40",
        }

    alive = {running("aaaaa"): steady(1), READY: steady(1)}
    evaluate(
        tmp_path,
        [
            (queries["ttft"], {**buckets(4), **alive}, 2.9),  # 95 % of the way from 1 to 3 s
            (queries["ttft"], {**buckets(0), **alive}, 0),
            (queries["ttft"], {READY: steady(0)}, 0),
            (queries["ttft"], {READY: steady(1)}, None),
        ],
    )


def test_wake_is_zero_before_anybody_asked_and_one_number_afterwards(tmp_path: Path, queries: dict[str, str]) -> None:
    asked = {f'gateway_requests_total{{route="chat",pod="{pod}"}}': "0+15x40" for pod in ("a", "b")}
    evaluate(
        tmp_path, [(queries["wake"], {}, 0), (queries["wake"], asked, 2), (queries["wake"], {READY: steady(1)}, 0)]
    )


def test_wake_survives_a_comment_and_several_lines(tmp_path: Path, render: Render) -> None:
    commented = {"autoscaling": {"minReplicas": 0, "wake": {"query": "requests # per second\n  or errors # of them\n"}}}
    query = triggers(scaled_object(render, commented))["wake"]["metadata"]["query"]
    evaluate(tmp_path, [(query, {"requests": steady(3)}, 3), (query, {}, 0)])


def test_without_kube_state_metrics_every_empty_result_holds(tmp_path: Path, render: Render) -> None:
    document = scaled_object(render, SCALED, {"autoscaling": {"prometheus": {"kubeStateMetrics": False}}})
    query = triggers(document)["running"]["metadata"]["query"]
    evaluate(
        tmp_path, [(query, {running("aaaaa"): steady(3)}, 3), (query, {}, None), (query, {READY: steady(0)}, None)]
    )


def test_tokens_are_replicas_worth_of_work_less_what_the_prefix_cache_answers(tmp_path: Path, render: Render) -> None:
    speeds = {"promptTokensPerSecond": 8192, "answerTokensPerSecond": 1024}
    signals = {"autoscaling": {"signals": {"tokens": {"enabled": True, **speeds}}}}
    # In quarters, rounded: promtool compares to the last digit.
    query = f"round(4 * ({triggers(scaled_object(render, signals))['tokens']['metadata']['query']}))"

    def counters(pod: str, prompts: int, answers: int) -> dict[str, str]:
        # Tokens per second, scraped every 15 s.
        return {
            replica("prompt_tokens_total", pod): f"0+{prompts * 15}x40",
            replica("generation_tokens_total", pod): f"0+{answers * 15}x40",
        }

    hits = {replica("prefix_cache_hits_total", "aaaaa"): f"0+{4096 * 15}x40"}
    alive = {running("aaaaa"): steady(1), running("bbbbb"): steady(1), READY: steady(2)}
    two = {**counters("aaaaa", 8192, 512), **counters("bbbbb", 4096, 256), **alive}
    fresh = {name: f"_x20 {values}" for name, values in counters("aaaaa", 8192, 512).items()}
    evaluate(
        tmp_path,
        [
            (query, two, 4 * (1.5 + 0.75)),
            (query, {**two, **hits}, 4 * (1.0 + 0.75)),
            (query, {**fresh, running("aaaaa"): steady(1), READY: steady(1)}, 0),  # one scrape so far
            (query, {READY: steady(0)}, 0),
            (query, {READY: steady(1)}, None),
        ],
    )


def test_a_mean_over_time_holds_on_partial_loss_as_the_last_scrape_does(tmp_path: Path, render: Render) -> None:
    query = triggers(scaled_object(render, {"autoscaling": {"averageSeconds": 60}}))["running"]["metadata"]["query"]
    rising = f"0x17 {'8 ' * 23}"  # five minutes in, three of the four samples of a minute are 8
    evaluate(
        tmp_path,
        [
            (query, {running("aaaaa"): steady(3), running("bbbbb"): steady(4), READY: steady(2)}, 7),
            (query, {running("aaaaa"): rising, READY: steady(1)}, 6),
            (query, {running("aaaaa"): steady(3), running("bbbbb"): lost(4), READY: steady(2)}, None),
            (query, {running("aaaaa"): lost(3), READY: steady(1)}, None),
            (query, {READY: steady(0)}, 0),
        ],
    )
