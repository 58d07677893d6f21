"""The engine's Deployment, Service and PodDisruptionBudget."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chartproof import engine_options
from chartproof.plan.workload_plan import plan_release
from chartproof.release import Release
from chartproof.workload import EngineContainer, engines_of
from tests.chart.conftest import Render, Values
from tests.presets import STEMS
from tests.presets import render as render_preset

G6E: Values = {"nodes": {"instanceTypes": ["g6e.2xlarge"]}}
FOUR_GPUS: Values = {
    "engine": {"tensorParallelSize": 4, "resources": {"cpu": "32"}},
    "nodes": {"instanceTypes": ["g6e.12xlarge"]},
}
P5: Values = {"nodes": {"instanceTypes": ["p5.4xlarge"]}, "engine": {"maxModelLen": 2048}}
MODELS = [stem for stem in STEMS if not stem.startswith("platform")]


def engine(release: Release) -> EngineContainer:
    (found,) = engines_of(release)
    return found


def spec(release: Release) -> dict[str, Any]:
    component = "app.kubernetes.io/component"
    (deployment,) = [each for each in release.of_kind("Deployment") if each.labels.get(component) == "engine"]
    found = deployment.get("spec")
    assert isinstance(found, dict)
    return found


def test_model_is_served_by_an_explicit_command(render: Render) -> None:
    container = engine(render(G6E))
    assert container.container["command"] == ["vllm", "serve"]
    assert container.container["args"][0].startswith("/weights/Qwen--Qwen2.5-7B-Instruct/")
    assert container.served_model_name == "Qwen/Qwen2.5-7B-Instruct"


def test_typed_values_become_options(render: Render) -> None:
    values = {
        "servedModelName": ["chat", "qwen"],
        "maxModelLen": 8192,
        "maxNumSeqs": 64,
        "maxNumBatchedTokens": 4096,
        "gpuMemoryUtilization": 0.85,
        "dtype": "bfloat16",
        "kvCacheDtype": "fp8",
        "quantization": "fp8",
        "enforceEager": True,
        "enablePrefixCaching": False,
        "maxNumQueuedRequests": 100,
        "trustRemoteCode": True,
        "enableLogRequests": True,
        "port": 9000,
        "drainSeconds": 40,
        "extraArgs": ["--seed", "7"],
    }
    container = engine(render(G6E, {"engine": values}))
    told = {each.name: each.value for each in container.options}
    assert told == {
        "--served-model-name": "chat qwen",
        "--port": "9000",
        "--gpu-memory-utilization": "0.85",
        "--dtype": "bfloat16",
        "--kv-cache-dtype": "fp8",
        "--tensor-parallel-size": "1",
        "--pipeline-parallel-size": "1",
        "--max-model-len": "8192",
        "--max-num-seqs": "64",
        "--max-num-batched-tokens": "4096",
        "--quantization": "fp8",
        "--no-enable-prefix-caching": None,
        "--enforce-eager": None,
        "--trust-remote-code": None,
        "--enable-log-requests": None,
        "--max-num-queued-reqs": "164",
        "--disable-access-log-for-endpoints": "/health,/metrics",
        "--shutdown-timeout": "40",
        "--seed": "7",
    }


@pytest.mark.parametrize("version", ["0.11.1", "0.15.1", "0.16.0", "0.18.1", "0.22.0", "0.28.0", "0.33.0"])
def test_every_generated_option_exists_in_the_engine_version(render: Render, version: str) -> None:
    container = engine(render(G6E, {"engine": {"version": version, "maxNumSeqs": 8, "enforceEager": True}}))
    table = engine_options.option_table("vllm")
    for option in container.options:
        found = table.look_up(option.name, container.version)
        assert found.verdict is engine_options.Verdict.KNOWN, f"{option.name} at {version}: {found}"


@pytest.mark.parametrize(("version", "expected"), [("0.17.1", None), ("0.18.1", "90"), ("0.33.0", "90")])
def test_drain_is_an_option_from_the_version_that_has_it(render: Render, version: str, expected: str | None) -> None:
    assert engine(render(G6E, {"engine": {"version": version}})).option("--shutdown-timeout") == expected


@pytest.mark.parametrize(
    ("types", "dtype"),
    [(["g6e.2xlarge"], "auto"), (["g4dn.2xlarge"], "float16"), (["g6.2xlarge", "g4dn.2xlarge"], "float16")],
)
def test_gpus_without_bfloat16_compute_in_float16_on_every_node_of_the_pool(
    render: Render, types: list[str], dtype: str
) -> None:
    small = {"model": {"id": "meta-llama/Llama-3.1-8B-Instruct", "precision": "awq-int4"}}
    token = {"huggingFaceToken": {"existingSecret": "huggingface"}}
    values = {"engine": {"maxModelLen": 4096, **token}, "nodes": {"instanceTypes": types}}
    assert engine(render(small, values)).option("--dtype") == dtype


def test_a_replica_on_a_slice_asks_for_it_by_its_profile_and_fits_its_memory(render: Render) -> None:
    release = render({"engine": {"migProfile": "3g.40gb"}}, {"nodes": {"provider": "existing"}}, P5)
    resources = engine(release).container["resources"]
    for side in ("limits", "requests"):
        assert resources[side]["nvidia.com/mig-3g.40gb"] == 1
        assert "nvidia.com/gpu" not in resources[side]
    (plan,) = plan_release(release)
    (whole,) = plan_release(render(P5))
    # Half of the price, and a little less than half of the memory.
    assert plan.smallest_fit is not None
    assert whole.smallest_fit is not None
    assert plan.smallest_fit.budget_bytes == pytest.approx(whole.smallest_fit.budget_bytes * 38 / 80)
    assert plan.usd_per_hour == pytest.approx((whole.usd_per_hour or 0) / 2)


def test_gpu_limit_equals_request_and_parallel_size(render: Render) -> None:
    resources = engine(render(FOUR_GPUS)).container["resources"]
    assert resources["requests"]["nvidia.com/gpu"] == resources["limits"]["nvidia.com/gpu"] == 4
    assert "cpu" not in resources["limits"], "throttling would slow the start"
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


@pytest.mark.parametrize(("layer", "gibibytes"), [(G6E, 2), (FOUR_GPUS, 8)])
def test_shared_memory_is_bounded_and_counted(render: Render, layer: Values, gibibytes: int) -> None:
    release = render(layer)
    (volume,) = [each for each in spec(release)["template"]["spec"]["volumes"] if each["name"] == "shared-memory"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": f"{gibibytes}Gi"}
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in engine(release).container["volumeMounts"]  # noqa: S108
    smaller = render(layer, {"engine": {"sharedMemoryGibibytes": gibibytes + 2}})
    memory = [int(engine(each).container["resources"]["limits"]["memory"][:-2]) for each in (release, smaller)]
    assert memory[1] - memory[0] == 2048


def test_pod_is_restricted_and_has_a_home(render: Render) -> None:
    pod = spec(render(G6E))["template"]["spec"]
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["runAsUser"], context["runAsGroup"]) == (True, 2000, 0)
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod["containers"], *pod["initContainers"]]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    environment = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert (environment["HOME"], environment["USER"]) == ("/home/vllm", "vllm")
    mounts = {each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert {"/home/vllm", "/tmp", "/dev/shm"} <= mounts  # noqa: S108
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False


def test_read_only_root_has_a_volume_for_everything_the_engine_writes(render: Render) -> None:
    container = engine(render(G6E, {"security": {"readOnlyRootFilesystem": True}})).container
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")]
    environment = {each["name"]: each.get("value", "") for each in container["env"]}
    for variable in ("HOME", "HF_HOME", "VLLM_CACHE_ROOT"):
        assert any(environment[variable].startswith(mount) for mount in mounts), variable


def test_startup_probe_allows_the_planned_load_times_the_factor(render: Render) -> None:
    quick = engine(render(G6E)).container["startupProbe"]
    assert quick["periodSeconds"] * quick["failureThreshold"] == 600
    large = {
        "model": {"id": "deepseek-ai/DeepSeek-V3", "precision": "fp8"},
        "nodes": {"instanceTypes": ["p5en.48xlarge"]},
    }
    parallel = {"engine": {"tensorParallelSize": 8}}
    release = render(large, parallel, {"weights": {"bandwidthMegabytesPerSecond": 500}})
    (plan,) = plan_release(release)
    probe = engine(release).container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 3 * plan.cold_start.in_container_seconds > 600


def test_probes_share_path_and_port_and_stand_load(render: Render) -> None:
    container = engine(render(G6E)).container
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[name]["httpGet"] == {"path": "/health", "port": "http"}
        assert container[name]["timeoutSeconds"] >= 5
    assert container["livenessProbe"]["failureThreshold"] >= 3


def test_probes_stay_open_when_a_key_is_set(render: Render) -> None:
    container = engine(render(G6E, {"engine": {"apiKey": {"existingSecret": "key"}}})).container
    (key,) = [each for each in container["env"] if each["name"] == "VLLM_API_KEY"]
    assert key["valueFrom"] == {"secretKeyRef": {"name": "key", "key": "api-key"}}
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"


def test_grace_period_covers_pause_drain_and_teardown(render: Render) -> None:
    release = render(G6E, {"engine": {"preStopSeconds": 12, "drainSeconds": 40}})
    pod = spec(release)["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 12 + 40 + 15
    assert pod["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": 12}}}


def test_no_pause_needs_no_hook(render: Render) -> None:
    assert "lifecycle" not in engine(render(G6E, {"engine": {"preStopSeconds": 0}})).container


def test_update_adds_a_replica_or_accepts_downtime(render: Render) -> None:
    assert spec(render(G6E))["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    accepted = render(G6E, {"engine": {"rollout": {"acceptDowntime": True}}})
    assert spec(accepted)["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


# A LeaderWorkerSet has no such deadline.
@pytest.mark.parametrize("stem", [each for each in MODELS if not each.endswith("-groups")])
def test_progress_deadline_covers_the_whole_start(stem: str) -> None:
    plans = plan_release(render_preset(stem))
    assert plans
    for plan in plans:
        probe = plan.container.container["startupProbe"]
        budget = probe["periodSeconds"] * probe["failureThreshold"]
        outside = plan.cold_start.seconds - plan.cold_start.in_container_seconds
        assert plan.container.document.body["spec"]["progressDeadlineSeconds"] > budget + outside


@pytest.mark.parametrize("stem", MODELS)
def test_chart_and_plan_agree_on_memory_and_fit(stem: str) -> None:
    plans = plan_release(render_preset(stem))
    assert plans
    for plan in plans:
        assert plan.smallest_fit is not None
        assert plan.smallest_fit.fits
        assert plan.delivery in {"huggingface", "initDownload", "stream", "volume"}


def test_replicas_are_the_autoscaler_s(render: Render) -> None:
    scaled = {"autoscaling": {"enabled": True}, "observability": {"monitoring": "podMonitor"}}
    assert "replicas" not in spec(render(G6E, scaled))
    assert spec(render(G6E))["replicas"] == 1


def test_installation_that_may_sleep_starts_no_gpu_pod(render: Render) -> None:
    asleep = {
        "autoscaling": {"enabled": True, "minReplicas": 0, "wake": {"query": "sum(rate(requests_total[1m]))"}},
        "observability": {"monitoring": "podMonitor"},
    }
    assert spec(render(G6E, asleep))["replicas"] == 0


def test_pods_find_their_pool(render: Render) -> None:
    nodes = {
        "poolName": "gpu",
        "labels": {"team": "llm"},
        "taints": {"nvidia.com/gpu": None, "dedicated": {"effect": "NoExecute"}},
    }
    pod = spec(render(G6E, {"nodes": nodes}))["template"]["spec"]
    assert pod["nodeSelector"] == {"llm-inference.io/pool": "gpu", "team": "llm"}
    assert pod["tolerations"] == [{"key": "dedicated", "operator": "Exists", "effect": "NoExecute"}]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    expression = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g6e.2xlarge"]}
    assert term["matchExpressions"] == [expression]


def test_karpenter_waits_for_loading_pods_only(render: Render) -> None:
    def annotation(*layers: Values) -> str | None:
        annotations: dict[str, str] = spec(render(G6E, *layers))["template"]["metadata"]["annotations"]
        return annotations.get("karpenter.sh/do-not-disrupt")

    assert (annotation() or "").endswith("s")
    assert annotation({"engine": {"doNotDisrupt": "45m"}}) == "45m"
    assert annotation({"engine": {"doNotDisrupt": ""}}) is None
    assert annotation({"nodes": {"provider": "existing"}}) is None


def test_replicas_spread_over_zones_as_a_preference(render: Render) -> None:
    (constraint,) = spec(render(G6E))["template"]["spec"]["topologySpreadConstraints"]
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert (
        constraint["labelSelector"]["matchLabels"].items()
        <= spec(render(G6E))["template"]["metadata"]["labels"].items()
    )


def test_budget_exists_where_there_is_something_to_protect(render: Render) -> None:
    assert not list(render(G6E).of_kind("PodDisruptionBudget"))
    (budget,) = render(G6E, {"engine": {"replicas": 3}}).of_kind("PodDisruptionBudget")
    assert budget.get("spec", "maxUnavailable") == 1
    assert budget.get("spec", "unhealthyPodEvictionPolicy") == "AlwaysAllow"


def test_image_comes_through_the_prefix_and_by_digest(render: Render) -> None:
    digest = f"sha256:{'0' * 64}"
    prefix = {"nodes": {"imagePrefix": "registry.example/docker-hub/"}}
    assert engine(render(G6E, prefix)).container["image"] == "registry.example/docker-hub/vllm/vllm-openai:v0.33.0"
    assert (
        engine(render(G6E, {"engine": {"image": {"digest": digest}}})).container["image"]
        == f"vllm/vllm-openai@{digest}"
    )


def test_compile_cache_is_keyed_by_image_options_and_gpu(render: Render) -> None:
    cache = {"engine": {"compileCache": {"enabled": True, "existingClaim": "caches"}}}

    def root(*layers: Values) -> str:
        container = engine(render(G6E, cache, *layers))
        return str(container.environment["VLLM_CACHE_ROOT"])

    roots = {
        root(),
        root({"engine": {"maxNumSeqs": 9}}),
        root({"engine": {"version": "0.32.0"}}),
        root({"nodes": {"instanceTypes": ["g5.2xlarge"]}}),
        root({"engine": {"extraEnv": {"VLLM_USE_TRTLLM_ATTENTION": "1"}}}),
    }
    assert len(roots) == 5
    assert root() == root({"engine": {"replicas": 1}})
    assert root().startswith("/compile-cache/")


@pytest.mark.parametrize(("version", "expected"), [("0.25.0", False), ("0.33.0", True)])
def test_measured_memory_is_kept_with_the_compile_cache(render: Render, version: str, expected: bool) -> None:
    cache = {"engine": {"version": version, "compileCache": {"enabled": True, "existingClaim": "caches"}}}
    assert ("VLLM_ENABLE_STARTUP_PLAN" in engine(render(G6E, cache)).environment) is expected
    assert "VLLM_ENABLE_STARTUP_PLAN" not in engine(render(G6E)).environment


def test_extra_environment_replaces_the_defaults_it_may(render: Render) -> None:
    container = engine(render(G6E, {"engine": {"extraEnv": {"HF_HUB_OFFLINE": "0", "NCCL_DEBUG": "INFO"}}}))
    names = [each["name"] for each in container.container["env"]]
    assert len(names) == len(set(names))
    assert container.environment["HF_HUB_OFFLINE"] == "0"
    assert container.environment["VLLM_NO_USAGE_STATS"] == "1"


def test_service_reaches_the_pods_by_the_port_name(render: Render) -> None:
    release = render(G6E, {"engine": {"port": 9000, "service": {"port": 8080, "type": "LoadBalancer"}}})
    (service,) = release.of_kind("Service")
    assert service.get("spec", "ports", 0) == {"name": "http", "port": 8080, "targetPort": "http", "protocol": "TCP"}
    assert engine(release).container["ports"] == [{"name": "http", "containerPort": 9000, "protocol": "TCP"}]
    labels = spec(release)["template"]["metadata"]["labels"]
    assert service.get("spec", "selector").items() <= labels.items()


def test_platform_release_has_no_engine(render: Render) -> None:
    release = render({"engine": {"enabled": False}})
    assert not release.documents


def test_numbers_of_a_release_are_computed_once(render: Render) -> None:
    """Annotations and probes come from the same derivation: a changed size moves all of them."""
    small, large = (
        render(G6E, {"model": {"id": "acme/model", "profile": {"weightsGB": {"bf16": size}}}}) for size in (10, 30)
    )
    for release, size in ((small, "10"), (large, "30")):
        assert spec(release)["template"]["metadata"]["annotations"]["chartproof.io/weights-gigabytes"] == size
    assert spec(large)["progressDeadlineSeconds"] > spec(small)["progressDeadlineSeconds"]
    assert json.dumps(spec(small)["selector"]) == json.dumps(spec(large)["selector"])
