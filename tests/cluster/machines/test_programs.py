from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import pytest

from chartproof.catalog import catalog
from chartproof.cluster.machines.engine_api import KvAddress
from chartproof.cluster.machines.engine_server import EngineServer, Settings
from chartproof.cluster.machines.gpus import DeviceMonitor, GpuRegistry
from chartproof.cluster.machines.programs import PodContext, engine_settings, is_monitor, server_for
from chartproof.errors import ClusterError
from chartproof.plan import plan_release
from chartproof.release import Document, Release
from chartproof.simulate.engine import engine_model
from tests import presets
from tests.cluster.machines.engines import SPEED
from tests.cluster.machines.loopback import run, serving

SERVERLESS = "llama-3.1-8b-g6e-serverless"
MODELS = [each for each in presets.STEMS if not each.startswith(("platform-", "gateway"))]


def node(instance: str) -> dict[str, Any]:
    return {"metadata": {"name": "gpu-1", "labels": dict(catalog().instances[instance].labels)}}


def pod_of(document: Document) -> dict[str, Any]:
    """The pod that a workload's template makes."""
    template = document.pod_templates[0]
    metadata = {**template.body.get("metadata", {}), "name": "pod-1", "namespace": "llm"}
    return {"metadata": metadata, "spec": copy.deepcopy(dict(template.spec))}


def engine_of(release: Release, instance: str, **environment: str) -> EngineServer:
    """The program of the release's engine."""
    container = plan_release(release)[0].container

    async def make() -> EngineServer:
        context = PodContext(SPEED, node(instance), release, GpuRegistry(SPEED), environment)
        found = server_for(pod_of(container.document), container.container, context)
        assert isinstance(found, EngineServer)
        return found

    return run(make())


def settings_of(overlay: str = "{}", **environment: str) -> Settings:
    release = presets.render(SERVERLESS, overlay)
    return engine_of(release, "g6e.xlarge", **environment).settings


@pytest.mark.parametrize("stem", MODELS)
def test_every_preset_has_a_played_engine_on_each_of_its_instances(stem: str) -> None:
    release = presets.render(stem)
    plan = plan_release(release)[0]
    for instance in plan.candidates:
        server = engine_of(release, instance.name)
        expected = engine_model(plan, instance.gpu, instance.gpu_memory_mebibytes)
        settings = server.settings
        assert settings.model == expected
        assert not settings.failure
        assert settings.load_seconds == plan.cold_start_on(instance).in_container_seconds
        assert server.ports == (plan.container.port,)
        assert settings.terms.names[0] == plan.container.served_model_name
        # SGLang has no such option: it lets everything finish.
        told = plan.container.integer("--shutdown-timeout", default=0) if plan.container.engine == "vllm" else math.inf
        assert settings.drain_seconds == told > 0
        assert 0.8 < settings.gpu_memory_utilization < 1
        assert settings.terms.context_tokens <= settings.model.kv_tokens


def test_options_are_honoured() -> None:
    settings = settings_of(
        "engine: {maxModelLen: 4096, maxNumSeqs: 16, maxNumQueuedRequests: 7, enablePrefixCaching: false}"
    )
    assert settings.terms.context_tokens == 4096
    assert settings.request_limit == 16 + 7
    assert not settings.prefix_caching
    release = presets.render(SERVERLESS)
    args = [*plan_release(release)[0].container.container["args"], "--disable-log-stats"]
    assert not engine_of(changed(release, {"args": args}), "g6e.xlarge").settings.log_stats
    plain = settings_of()
    assert (plain.request_limit, plain.prefix_caching, plain.log_stats) == (None, True, True)


def test_an_old_vllm_does_not_drain() -> None:
    assert settings_of("engine: {version: 0.17.1}").drain_seconds == 0
    assert settings_of("engine: {version: 0.18.1}").drain_seconds > 0


def changed(release: Release, change: Mapping[str, Any]) -> Release:
    """The release with these fields in its engine's container."""
    container = plan_release(release)[0].container
    body = copy.deepcopy(dict(container.document.body))
    for each in body["spec"]["template"]["spec"]["containers"]:
        if each["name"] == container.container["name"]:
            each.update(change)
    documents = tuple(
        Document(body, each.source, each.index) if each is container.document else each for each in release.documents
    )
    return Release(release.name, documents, release.namespace)


def test_the_roles_of_a_model_tell_each_other_the_addresses_of_their_pods() -> None:
    release = presets.render("llama-3.3-70b-fp8-g7e-disaggregated")
    assert kv_address(release) == KvAddress("10.64.0.7", 5600, 2)
    assert kv_address(changed(release, {"env": []})) == KvAddress("localhost", 5600, 2)
    assert settings_of().terms.kv_address is None


def kv_address(release: Release) -> KvAddress | None:
    async def make() -> Settings:
        context = PodContext(SPEED, node("g7e.12xlarge"), release, GpuRegistry(SPEED))
        return engine_settings(plan_release(release)[0].container, context, address="10.64.0.7")

    return run(make()).terms.kv_address


def key(value: Mapping[str, Any], **known: str) -> tuple[bool, tuple[str, ...]]:
    release = changed(presets.render(SERVERLESS), {"env": [{"name": "VLLM_API_KEY", **value}]})
    settings = engine_of(release, "g6e.xlarge", **known).settings
    return settings.key_needed, settings.api_keys


def test_keys() -> None:
    secret = {"valueFrom": {"secretKeyRef": {"name": "keys", "key": "key"}}}
    assert key({"value": "open"}) == (True, ("open",))
    assert key({"value": ""}) == (False, ())
    assert key(secret) == (True, ())
    assert key(secret, VLLM_API_KEY="sesame") == (True, ("sesame",))
    assert not engine_of(changed(presets.render(SERVERLESS), {"env": []}), "g6e.xlarge").settings.key_needed


def sglang(*more: str, env: list[dict[str, str]] | None = None) -> Settings:
    command = ["python3", "-m", "sglang.launch_server", "--model-path", "meta-llama/Llama-3.1-8B-Instruct", *more]
    change = {"image": "lmsysorg/sglang:v0.5.23", "command": command, "args": [], "env": env or []}
    body = changed(presets.render(SERVERLESS), change)
    return engine_of(body, "g6e.xlarge").settings


def test_sglang() -> None:
    plain = sglang()
    assert (plain.engine, plain.reachable, plain.metrics) == ("sglang", False, False)
    assert plain.drain_seconds == float("inf")
    everywhere = "0.0.0.0"  # noqa: S104
    told = sglang("--host", everywhere, "--enable-metrics", "--max-queued-requests", "9", "--context-length", "2048")
    assert (told.reachable, told.metrics, told.request_limit, told.terms.context_tokens) == (True, True, 9, 2048)
    assert sglang(env=[{"name": "SGL_FORCE_SHUTDOWN", "value": "true"}]).drain_seconds == 0
    quiet = sglang(env=[{"name": "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION", "value": "false"}])
    assert not quiet.health_generates


def test_a_context_that_does_not_fit_ends_the_engine() -> None:
    release = presets.render("qwen2.5-7b-g5")
    args = [*plan_release(release)[0].container.container["args"], "--max-model-len", "2000000"]
    assert "2000000" in engine_of(changed(release, {"args": args}), "g5.xlarge").settings.failure


def test_what_is_not_known_is_said() -> None:
    release = presets.render(SERVERLESS)
    with pytest.raises(ClusterError, match="has no GPU that the catalog knows"):
        _on_a_cpu_node(release)
    # An L4 is not among what the preset's pool buys.
    with pytest.raises(ClusterError, match="how fast"):
        engine_of(release, "g6.xlarge")


def _on_a_cpu_node(release: Release) -> None:
    container = plan_release(release)[0].container

    async def make() -> None:
        context = PodContext(SPEED, {"metadata": {"name": "system-0"}}, release, GpuRegistry(SPEED))
        server_for(pod_of(container.document), container.container, context)

    run(make())


def test_other_containers_are_no_programs() -> None:
    async def make() -> None:
        context = PodContext(SPEED, node("g6e.xlarge"), Release("", ()), GpuRegistry(SPEED))
        body: dict[str, Any] = {"name": "proxy", "image": "nginx:1.29"}
        assert server_for({"spec": {"containers": [body]}}, body, context) is None

    run(make())


def test_an_engine_holds_its_gpus_on_its_node() -> None:
    release = presets.render("qwen3-32b-g6e-12xlarge")
    container = plan_release(release)[0].container

    async def play() -> None:
        registry = GpuRegistry(SPEED)
        context = PodContext(SPEED, node("g6e.12xlarge"), release, registry)
        server = server_for(pod_of(container.document), container.container, context)
        assert server is not None
        async with serving(server):
            users = [each.use for each in registry.devices("gpu-1", context.node_labels)]
            assert len(users) == 4
            assert all(
                each and (each.namespace, each.pod, each.container) == ("llm", "pod-1", "vllm") for each in users
            )
            server.kill()
            assert [each.use for each in registry.devices("gpu-1", context.node_labels)] == [None] * 4

    run(play())


# The DCGM exporter.


def platform() -> Release:
    return next(
        release
        for release in (presets.render(each) for each in presets.STEMS if each.startswith("platform-"))
        if any(is_monitor(c) for d in release.workloads for c in d.pod_templates[0].containers())
    )


def monitor(change: Mapping[str, Any] | None = None, *, config: bool = True) -> DeviceMonitor:
    release = platform()
    document = next(d for d in release.workloads if is_monitor(d.pod_templates[0].containers()[0]))
    container = {**document.pod_templates[0].containers()[0], **(change or {})}
    documents = release.documents if config else (document,)

    async def make() -> DeviceMonitor:
        context = PodContext(SPEED, node("g6e.xlarge"), Release("", documents, release.namespace), GpuRegistry(SPEED))
        found = server_for(pod_of(document), container, context)
        assert isinstance(found, DeviceMonitor)
        return found

    return run(make())


def test_the_exporter_of_the_chart_is_played_with_its_counters() -> None:
    found = monitor()
    assert found.ports == (9400,)
    assert monitor({"env": [{"name": "DCGM_EXPORTER_LISTEN", "value": ":9999"}]}).ports == (9999,)


def test_counters_that_nobody_can_read_are_said() -> None:
    with pytest.raises(ClusterError, match="no ConfigMap has the counters file"):
        monitor(config=False)
    with pytest.raises(ClusterError, match=r"default-counters\.csv"):
        monitor({"args": []})
