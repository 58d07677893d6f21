"""SGLang as engine: its command line, probes, drain, caches and metrics, as good as vLLM's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chartproof import engine_options
from chartproof.plan.workload_plan import plan_release
from chartproof.release import Release
from chartproof.rules import check_release
from chartproof.workload import EngineContainer, engines_of
from tests.chart.conftest import Render, Values

SGLANG: Values = {"engine": {"type": "sglang"}, "nodes": {"instanceTypes": ["g6e.2xlarge"]}}
SCALED: Values = {
    "autoscaling": {"enabled": True, "signals": {"kvCache": {"enabled": True}, "timeToFirstToken": {"enabled": True}}},
    "observability": {"monitoring": "serviceMonitor", "alerts": {"enabled": True}},
}
STREAM: Values = {
    "weights": {"delivery": "stream", "source": {"type": "s3", "s3": {"uri": "s3://bucket/model", "region": "r"}}},
    "aws": {"identity": "podIdentity"},
}
#: The oldest version the chart supports, those at which an ability begins, and the newest.
VERSIONS = ["0.5.10", "0.5.11", "0.5.14", "0.5.18", "0.5.21", "0.5.23"]


def engine(release: Release) -> EngineContainer:
    (found,) = engines_of(release)
    return found


def pod(release: Release) -> dict[str, Any]:
    (deployment,) = release.of_kind("Deployment")
    found = deployment.get("spec", "template", "spec")
    assert isinstance(found, dict)
    return found


def told(release: Release) -> dict[str, str | None]:
    return {each.name: each.value for each in engine(release).options}


def test_model_is_served_by_its_own_image_and_command(render: Render) -> None:
    container = engine(render(SGLANG))
    assert container.engine == "sglang"
    assert container.container["name"] == "sglang"
    assert container.container["image"] == "lmsysorg/sglang:v0.5.23"
    assert container.container["command"] == ["python3", "-m", "sglang.launch_server"]
    assert container.model.startswith("/weights/Qwen--Qwen2.5-7B-Instruct/")


def test_a_named_version_and_image_are_taken(render: Render) -> None:
    image = {"engine": {"version": "0.5.21", "image": {"repository": "example/sglang"}}}
    container = engine(render(SGLANG, image))
    assert container.container["image"] == "example/sglang:v0.5.21"
    assert container.version == (0, 5, 21)


def test_typed_values_become_options(render: Render) -> None:
    values = {
        "servedModelName": ["chat"],
        "maxModelLen": 8192,
        "maxNumSeqs": 64,
        "maxNumBatchedTokens": 4096,
        "dtype": "bfloat16",
        "kvCacheDtype": "fp8_e4m3",
        "quantization": "fp8",
        "enforceEager": True,
        "enablePrefixCaching": False,
        "maxNumQueuedRequests": 100,
        "trustRemoteCode": True,
        "enableLogRequests": True,
        "port": 9000,
        "apiKey": {"existingSecret": "key"},
        "extraArgs": ["--random-seed", "7"],
    }
    options = told(render(SGLANG, {"engine": values}))
    assert options.pop("--model-path")
    assert options.pop("--mem-fraction-static")
    assert options == {
        "--served-model-name": "chat",
        "--host": "0.0.0.0",  # noqa: S104
        "--port": "9000",
        "--enable-metrics": None,
        "--dtype": "bfloat16",
        "--kv-cache-dtype": "fp8_e4m3",
        "--tp-size": "1",
        "--pp-size": "1",
        "--context-length": "8192",
        "--max-running-requests": "64",
        "--chunked-prefill-size": "4096",
        "--quantization": "fp8",
        "--disable-radix-cache": None,
        "--cuda-graph-backend-decode": "disabled",
        "--cuda-graph-backend-prefill": "disabled",
        "--trust-remote-code": None,
        "--log-requests": None,
        "--log-requests-level": "1",
        "--max-queued-requests": "100",
        "--uvicorn-access-log-exclude-prefixes": "/health /ready /metrics",
        "--api-key": "$(SGLANG_API_KEY)",
        "--random-seed": "7",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_generated_option_exists_in_the_engine_version(render: Render, version: str) -> None:
    values = {"version": version, "maxNumSeqs": 8, "enforceEager": True, "maxNumQueuedRequests": 5}
    container = engine(render(SGLANG, {"engine": values}))
    table = engine_options.option_table("sglang")
    between = engine_options.Verdict.UNDECIDED if version == "0.5.11" else engine_options.Verdict.KNOWN
    for option in container.options:
        found = table.look_up(option.name, container.version)
        assert found.verdict in {engine_options.Verdict.KNOWN, between}, f"{option.name} at {version}: {found}"


@pytest.mark.parametrize(("version", "spelling"), [("0.5.10", "--disable-cuda-graph"), ("0.5.14", "disabled")])
def test_eager_mode_is_spelled_as_the_version_does(render: Render, version: str, spelling: str) -> None:
    release = render(SGLANG, {"engine": {"version": version, "enforceEager": True}})
    assert spelling in engine(release).container["args"]
    (plan,) = plan_release(release)
    (graphs,) = plan_release(render(SGLANG, {"engine": {"version": version}}))
    assert plan.cold_start.seconds < graphs.cold_start.seconds


def test_rules_find_nothing_in_it(render: Render) -> None:
    for layers in ((SGLANG, SCALED), (SGLANG, SCALED, STREAM)):
        findings = check_release(render(*layers))
        assert not [each for each in findings if str(each.severity) != "note"]


@pytest.mark.parametrize(("version", "ready"), [("0.5.18", "/health"), ("0.5.21", "/ready"), ("0.5.23", "/ready")])
def test_probes_ask_the_cheap_route_where_there_is_one(render: Render, version: str, ready: str) -> None:
    container = engine(render(SGLANG, {"engine": {"version": version}})).container
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert paths == {"startupProbe": ready, "readinessProbe": ready, "livenessProbe": "/health"}
    for name in paths:
        assert container[name]["timeoutSeconds"] > 1, "/health takes a second at least"


def test_grace_period_covers_a_drain_that_no_option_bounds(render: Render) -> None:
    release = render(SGLANG, {"engine": {"preStopSeconds": 12, "drainSeconds": 40}})
    assert pod(release)["terminationGracePeriodSeconds"] == 12 + 40 + 30
    assert not [each for each in told(release) if "shutdown" in each]


@pytest.mark.parametrize("instance", ["g5.2xlarge", "g6e.2xlarge", "p5.4xlarge"])
def test_memory_share_leaves_what_the_engine_needs_beside_it(render: Render, instance: str) -> None:
    release = render(SGLANG, {"nodes": {"instanceTypes": [instance]}, "engine": {"maxModelLen": 8192}})
    share = float(told(release)["--mem-fraction-static"] or 0)
    (plan,) = plan_release(release)
    fit = plan.smallest_fit
    assert fit is not None
    usable = fit.budget_bytes / share
    assert usable * 0.9 - 4e9 >= fit.budget_bytes > usable * 0.899 - 4e9
    assert fit.overhead_bytes == 0


def test_memory_share_is_stated_where_no_gpu_is_known(render: Render) -> None:
    assert told(render(SGLANG, {"nodes": {"instanceTypes": []}}))["--mem-fraction-static"] == "0.8"


def test_chart_and_plan_agree_on_the_target(render: Render) -> None:
    release = render(SGLANG, SCALED)
    (plan,) = plan_release(release)
    (scaled_object,) = release.of_kind("ScaledObject")
    assert scaled_object.get("spec", "advanced", "scalingModifiers", "target") == str(plan.target)


def test_key_comes_from_a_secret_and_probes_stay_open(render: Render) -> None:
    container = engine(render(SGLANG, {"engine": {"apiKey": {"existingSecret": "key"}}})).container
    (key,) = [each for each in container["env"] if each["name"] == "SGLANG_API_KEY"]
    assert key["valueFrom"] == {"secretKeyRef": {"name": "key", "key": "api-key"}}
    assert "--api-key=$(SGLANG_API_KEY)" in container["args"], "one word: a key may begin with a dash"


def test_everything_it_writes_lies_on_a_volume(render: Render) -> None:
    container = engine(render(SGLANG, {"security": {"readOnlyRootFilesystem": True}})).container
    environment = {each["name"]: each.get("value", "") for each in container["env"]}
    mounts = [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")]
    for name in ("HOME", "HF_HOME", "SGLANG_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"):
        assert environment[name].startswith(tuple(mounts)), name
    assert environment["HOME"] == "/home/sglang"
    assert environment["USER"] == "sglang"
    assert not [name for name in environment if name.startswith("VLLM_")]


def test_compiled_kernels_are_kept_by_image_options_and_gpu(render: Render) -> None:
    cache = {"engine": {"compileCache": {"enabled": True, "existingClaim": "caches"}}}
    first, other = (
        {each["name"]: each.get("value", "") for each in engine(render(SGLANG, cache, layer)).container["env"]}
        for layer in ({}, {"engine": {"maxNumSeqs": 8}})
    )
    assert first["SGLANG_CACHE_DIR"].startswith("/compile-cache/")
    assert first["SGLANG_CACHE_DIR"] != other["SGLANG_CACHE_DIR"]
    assert first["TRITON_CACHE_DIR"] == f"{first['SGLANG_CACHE_DIR']}/triton"
    (plan,) = plan_release(render(SGLANG, cache))
    (without,) = plan_release(render(SGLANG))
    assert plan.cold_start.seconds < without.cold_start.seconds


def test_weights_are_streamed_with_a_bounded_buffer(render: Render) -> None:
    options = told(render(SGLANG, STREAM))
    assert options["--model-path"] == "s3://bucket/model"
    assert options["--load-format"] == "runai_streamer"
    extra = json.loads(options["--model-loader-extra-config"] or "")
    assert extra == {"distributed": False, "concurrency": 32, "memory_limit": 4 * 2**30}


@pytest.mark.parametrize("delivery", ["initDownload", "volume", "image"])
def test_weights_from_disk_need_no_loader(render: Render, delivery: str) -> None:
    release = render(SGLANG, {"weights": {"delivery": delivery}})
    assert engine(release).model.startswith("/")
    assert "--load-format" not in told(release)


def test_triggers_and_alerts_read_its_own_metrics(render: Render) -> None:
    release = render(SGLANG, SCALED)
    text = json.dumps([each.body for each in release.of_kind("ScaledObject", "PrometheusRule")])
    assert "vllm:" not in text
    for name in ("num_running_reqs", "num_queue_reqs", "token_usage", "time_to_first_token_seconds_bucket"):
        assert f"sglang:{name}" in text
    assert "pp_rank" not in text


def test_only_the_first_stage_of_a_pipeline_counts(render: Render) -> None:
    parallel = {
        "engine": {"pipelineParallelSize": 4, "resources": {"cpu": "32"}},
        "nodes": {"instanceTypes": ["g6e.12xlarge"]},
    }
    (scaled_object,) = render(SGLANG, SCALED, parallel).of_kind("ScaledObject")
    queries = {each["name"]: each["metadata"]["query"] for each in scaled_object.get("spec", "triggers")}
    for name in ("running", "waiting", "kv_cache"):
        series = queries[name].count("sglang:")
        assert queries[name].count('pp_rank="0"') == series
    assert "histogram_quantile" in queries["ttft"]
    (first, _, _) = queries["ttft"].partition("or on()")
    assert "pp_rank" not in first, "the tokenizer's metrics carry no rank"


def test_dashboards_are_drawn_for_each_engine_in_the_cluster(render: Render) -> None:
    platform = {"engine": {"enabled": False}, "observability": {"dashboards": {"enabled": True}}}

    def names(*layers: Values) -> dict[str, str]:
        return {
            name: text
            for document in render(platform, *layers).of_kind("ConfigMap")
            for name, text in document.get("data").items()
        }

    both = names()
    only = names({"observability": {"dashboards": {"engines": ["sglang"]}}})
    assert set(both) - set(only) == {"llm-latency.json", "llm-scaling.json"}
    assert "vllm:" not in "".join(only.values())
    assert "vllm:" not in both["llm-latency-sglang.json"]
    assert "sglang:" not in both["llm-latency.json"]
    assert all(each in both["llm-cost.json"] for each in ("vllm:generation_tokens", "sglang:generation_tokens"))
    titles = [panel["title"] for panel in json.loads(both["llm-latency.json"])["panels"]]
    assert [panel["title"] for panel in json.loads(both["llm-latency-sglang.json"])["panels"]] == titles
