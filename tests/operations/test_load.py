"""The load test as the chart renders it, run for real."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof.cluster.machines.engine_api import Terms
from chartproof.cluster.ports import free_ports
from chartproof.release import Release
from tests import presets
from tests.chart.conftest import merged
from tests.cluster.machines import engines
from tests.load.engine import Engine, event, serving_beside
from tests.operations.servers import Told, played, telling

pytestmark = pytest.mark.slow

MODEL = "llama-3.1-8b"
SMALL: dict[str, Any] = {
    "enabled": True,
    "steady": {"requestsPerSecond": 20, "seconds": 2},
    "burst": {"requests": 30},
    "promptTokens": 50,
    "answerTokens": 10,
    "timeoutSeconds": 5,
}


def _release(stem: str, load: dict[str, Any], *values: dict[str, Any]) -> Release:
    return presets.render(stem, yaml.safe_dump(merged({"loadTest": load}, *values)))


def _data(release: Release) -> dict[str, str]:
    (found,) = [each.body["data"] for each in release.of_kind("ConfigMap") if "load.py" in each.body["data"]]
    return dict(found)


@dataclass
class Running:
    process: subprocess.Popen[str]
    metrics_port: int

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as answer:
            text: bytes = answer.read()
            return text.decode()

    def results(self) -> list[dict[str, Any]]:
        out, errors = self.process.communicate(timeout=60)
        assert errors == ""
        return [json.loads(each) for each in out.splitlines()]


@contextmanager
def _started(release: Release, where: Path, url: str, *, linger: float = 0, **environment: str) -> Iterator[Running]:
    """The Job's command, with what the cluster would resolve put in its place."""
    data = _data(release)
    (port,) = free_ports(1)
    plan = {**json.loads(data["load.json"]), "url": url, "lingerSeconds": linger, "metricsPort": port}
    (where / "load.py").write_text(data["load.py"])
    (where / "load.json").write_text(json.dumps(plan))
    (job,) = [each for each in release.of_kind("Job") if "-load-test-" in each.name]
    (container,) = job.get("spec", "template", "spec", "containers")
    command = [each.replace("/opt/operations", str(where)) for each in (sys.executable, *container["command"][1:])]
    process = subprocess.Popen(
        command, env={"PATH": "/usr/bin", **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield Running(process, port)
    finally:
        process.kill()
        process.communicate()


def _settings(**changes: Any) -> Any:
    terms = Terms((MODEL,), "s3://models/llama/", (0, 33, 0), 8192)
    return engines.settings("vllm", (0, 33, 0), terms=terms, load_seconds=1.0, **changes)


def test_a_steady_rate_and_a_burst_are_measured(tmp_path: Path) -> None:
    release = _release("llama-3.1-8b-awq-g6", SMALL)
    with played(_settings(), speed=20) as engine, _started(release, tmp_path, engine) as running:
        steady, burst, total = running.results()
    assert running.process.returncode == 0
    assert (steady["phase"], burst["phase"]) == ("steady", "burst")
    # Forty by chance.
    assert 20 < steady["requests"] == steady["answered"] < 60
    assert burst["requests"] == burst["answered"] == 30
    assert steady["failed"] == burst["failed"] == {}
    assert 2 <= steady["seconds"] < 6
    for each in (steady, burst):
        tokens = each["answerTokensPerSecond"] * each["seconds"]
        assert tokens == pytest.approx(10 * each["answered"], rel=0.05)
        # A word is a token, about.
        assert 40 * each["answered"] < each["promptTokensPerSecond"] * each["seconds"] < 120 * each["answered"]
        assert 0 < each["timeToFirstTokenSeconds"]["p50"] < each["endToEndSeconds"]["p50"]
        assert each["interTokenMilliseconds"]["p50"] > 0
    assert total == {"model": MODEL, "requests": steady["requests"] + 30, "failedPercent": 0.0, "holds": True}


def test_results_are_metrics_too_while_it_lingers(tmp_path: Path) -> None:
    release = _release("llama-3.1-8b-awq-g6", {**SMALL, "steady": {"requestsPerSecond": 0}})
    with played(_settings(), speed=20) as engine, _started(release, tmp_path, engine, linger=30) as running:
        assert running.process.stdout is not None
        running.process.stdout.readline()
        lines = running.metrics().splitlines()
    labels = f'model_name="{MODEL}",phase="burst"'
    assert f'llm_load_test_requests_total{{{labels},outcome="answered"}} 30' in lines
    assert f'llm_load_test_tokens_total{{{labels},kind="answer"}} 300' in lines
    assert f"llm_load_test_running_requests{{{labels}}} 0" in lines
    assert f"llm_load_test_end_to_end_seconds_count{{{labels}}} 30" in lines
    buckets = [int(each.split()[1]) for each in lines if each.startswith("llm_load_test_time_to_first_token_seconds_b")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 30


def test_a_request_that_waits_is_seen_as_running(tmp_path: Path) -> None:
    release = _release("llama-3.1-8b-awq-g6", {**SMALL, "steady": {"requestsPerSecond": 0}})
    with played(_settings(), speed=0.1) as engine, _started(release, tmp_path, engine) as running:
        for _ in range(50):
            time.sleep(0.1)
            try:
                if f'llm_load_test_running_requests{{model_name="{MODEL}",phase="burst"}} 30' in running.metrics():
                    break
            except OSError:
                continue
        else:
            pytest.fail("nothing runs")


@pytest.mark.parametrize(
    ("engine", "outcome"),
    [
        (Engine(status=503), "status 503"),
        (Engine(breaks=True, pieces=(event("one"),)), "broken off"),
        (Engine(pieces=(event("one"),)), "broken off"),
        (Engine(pieces=(b'data: {"error":{"message":"no"}}\n\n', b"data: [DONE]\n\n")), "error in the stream"),
        (Engine(pieces=(b"data: [DONE]\n\n",)), "no content"),
    ],
)
def test_what_is_no_whole_answer_has_failed(tmp_path: Path, engine: Engine, outcome: str) -> None:
    release = _release("llama-3.1-8b-awq-g6", {**SMALL, "steady": {"seconds": 0}, "burst": {"requests": 5}})
    with serving_beside(engine), _started(release, tmp_path, engine.url) as running:
        burst, total = running.results()
    assert burst["failed"] == {outcome: 5}
    assert burst["answered"] == 0
    assert burst["endToEndSeconds"] is None
    assert total["failedPercent"] == 100
    assert not total["holds"]
    assert running.process.returncode == 1


def test_failures_that_are_allowed_are_no_failure_of_the_job(tmp_path: Path) -> None:
    load = {**SMALL, "steady": {"seconds": 0}, "burst": {"requests": 5}, "mostFailedPercent": 100}
    with _started(_release("llama-3.1-8b-awq-g6", load), tmp_path, "http://127.0.0.1:9") as running:
        burst, total = running.results()
    assert burst["failed"] == {"refused": 5}
    assert total["holds"]
    assert running.process.returncode == 0


def test_prompts_differ_so_that_no_cache_answers_them_and_the_key_is_sent(tmp_path: Path) -> None:
    release = _release("llama-3.1-8b-awq-g6", {**SMALL, "steady": {"requestsPerSecond": 2, "seconds": 2}})
    with serving_beside(Engine()) as engine, _started(release, tmp_path, engine.url, API_KEY="sk-a") as running:
        running.results()
    beginnings = {body["prompt"].split()[0] for _, _, body in engine.asked}
    assert len(beginnings) == len(engine.asked) > 30
    assert {headers["Authorization"] for _, headers, _ in engine.asked} == {"Bearer sk-a"}
    assert {(path, body["max_tokens"]) for path, _, body in engine.asked} == {("/v1/completions", 10)}


def test_a_model_that_embeds_is_asked_for_vectors(tmp_path: Path) -> None:
    release = _release("qwen3-embedding-8b-g5", {**SMALL, "steady": {"seconds": 0}, "burst": {"requests": 4}})
    answer = {"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 50, "total_tokens": 50}}
    told = Told({"/v1/embeddings": (200, answer)})
    with telling(told) as engine, _started(release, tmp_path, engine.url) as running:
        burst, _ = running.results()
    assert burst["answered"] == 4
    assert burst["timeToFirstTokenSeconds"] is None
    assert burst["promptTokensPerSecond"] > 0


def test_each_set_of_values_is_a_job_of_its_own() -> None:
    def job(**load: Any) -> str:
        (found,) = _release("llama-3.1-8b-awq-g6", {"enabled": True, **load}).of_kind("Job")
        return found.name

    assert job() == job()
    assert len({job(), job(run=2), job(promptTokens=100)}) == 3


def test_the_load_goes_through_the_gateway_where_there_is_one() -> None:
    release = _release("llama-3.1-8b-g6e-gateway", {"enabled": True})
    (job,) = [each for each in release.of_kind("Job") if "-load-test-" in each.name]
    (container,) = job.get("spec", "template", "spec", "containers")
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "gateway-keys", "key": "master-key"}
    host = json.loads(_data(release)["load.json"])["url"].removeprefix("http://").partition(".")[0]
    assert host in {each.name for each in release.of_kind("Service") if each.name.endswith("-gateway")}
    labels = job.get("spec", "template", "metadata", "labels")
    (policy,) = [each for each in release.of_kind("NetworkPolicy") if each.name == host]
    peers = [
        each["podSelector"]["matchLabels"] for each in policy.get("spec", "ingress", 0, "from") if "podSelector" in each
    ]
    assert any(each.items() <= labels.items() for each in peers)


def test_it_is_scraped_by_a_monitor_of_its_own() -> None:
    release = _release("llama-3.1-8b-awq-g6", {"enabled": True})
    (job,) = release.of_kind("Job")
    (monitor,) = [each for each in release.of_kind("PodMonitor") if each.name.endswith("-load-test")]
    labels = job.get("spec", "template", "metadata", "labels")
    assert monitor.get("spec", "selector", "matchLabels").items() <= labels.items()
    ports = job.get("spec", "template", "spec", "containers", 0, "ports")
    assert [each["port"] for each in monitor.get("spec", "podMetricsEndpoints")] == [each["name"] for each in ports]
