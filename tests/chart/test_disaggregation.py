"""Prompts and answers on separate replicas: what each role is, what the router may, and how each scales."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chartproof.plan.workload_plan import plan_release
from chartproof.release import Document, Release
from chartproof.workload import EngineContainer, engines_of
from tests import presets
from tests.chart.conftest import Refusals, Render, Values, merged

PRESET = "llama-3.3-70b-fp8-g7e-disaggregated"
ROLES = ("prefill", "decode")
BASE: Values = {
    "disaggregation": {"enabled": True},
    "nodes": {"instanceTypes": ["g6e.2xlarge"]},
}
SCALED: Values = merged(BASE, {"autoscaling": {"enabled": True}, "observability": {"monitoring": "podMonitor"}})


def named(release: Release, kind: str, ending: str) -> Document:
    (found,) = (each for each in release.documents if each.kind == kind and each.name.endswith(ending))
    return found


def engine(release: Release, role: str) -> EngineContainer:
    (found,) = (each for each in engines_of(release) if each.document.name.endswith(role))
    return found


def formula(release: Release, role: str) -> str:
    modifiers = named(release, "ScaledObject", role).body["spec"]["advanced"]["scalingModifiers"]
    return str(modifiers["formula"])


def queries(release: Release, role: str) -> dict[str, str]:
    triggers = named(release, "ScaledObject", role).body["spec"]["triggers"]
    return {each["name"]: each["metadata"]["query"] for each in triggers}


@pytest.mark.parametrize("role", ROLES)
def test_each_role_is_told_its_part_of_the_hand_over(role: str) -> None:
    container = engine(presets.render(PRESET), role)
    options = {each.name: each.value for each in container.options}
    told = json.loads(str(options["--kv-transfer-config"]))
    assert told == {
        "kv_connector": "NixlConnector",
        "kv_role": {"prefill": "kv_producer", "decode": "kv_consumer"}[role],
    }
    environment = {each["name"]: each for each in container.container["env"]}
    assert environment["VLLM_NIXL_SIDE_CHANNEL_HOST"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    ports = {each["name"]: each["containerPort"] for each in container.container["ports"]}
    assert str(ports["kv-transfer"]) == environment["VLLM_NIXL_SIDE_CHANNEL_PORT"]["value"]


def test_a_release_without_roles_knows_nothing_of_them(render: Render) -> None:
    release = render({"nodes": {"instanceTypes": ["g6e.2xlarge"]}})
    text = json.dumps([each.body for each in release.documents])
    for word in ("kv-transfer", "llm-inference.io/role", "router", "NIXL"):
        assert word not in text


def test_the_roles_share_weights_and_account_and_nothing_else() -> None:
    release = presets.render(PRESET)
    for kind in ("Deployment", "Service", "ScaledObject", "PodDisruptionBudget", "PrometheusRule", "ServiceMonitor"):
        for role in ROLES:
            named(release, kind, role)
    accounts = {engine(release, role).pod.body["spec"]["serviceAccountName"] for role in ROLES}
    assert len(accounts) == 1
    assert len([each for each in release.of_kind("ConfigMap") if each.name.endswith("-weights")]) == 1
    pools = {each.name for each in release.documents if each.kind == "NodePool"}
    assert pools == {"llama-3-3-70b-fp8-prefill-on-demand", "llama-3-3-70b-fp8-decode-on-demand"}


@pytest.mark.parametrize("role", ROLES)
def test_no_selector_of_a_role_catches_the_other(role: str) -> None:
    release = presets.render(PRESET)
    labels = {each: engine(release, each).pod.labels for each in ROLES}
    other = next(each for each in ROLES if each != role)
    for kind in ("Deployment", "ServiceMonitor", "PodDisruptionBudget"):
        selector = named(release, kind, role).body["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels[role].items()
        assert not selector.items() <= labels[other].items()


def test_the_router_selects_the_pods_of_each_role_in_its_namespace() -> None:
    release = presets.render(PRESET)
    router = named(release, "Deployment", "router")
    (container,) = router.body["spec"]["template"]["spec"]["containers"]
    args = container["args"]
    for role in ROLES:
        begin = args.index(f"--{role}-selector") + 1
        words = args[begin : begin + 4]
        labels = dict(each.split("=", 1) for each in words)
        assert labels.items() <= engine(release, role).pod.labels.items()
        assert labels["llm-inference.io/role"] == role
    assert args[args.index("--service-discovery-namespace") + 1] == router.namespace
    assert args[args.index("--service-discovery-port") + 1] == "8000"


def test_the_router_may_watch_pods_and_nothing_else() -> None:
    release = presets.render(PRESET)
    assert named(release, "Role", "router").body["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
    ]
    account = named(release, "ServiceAccount", "router").name
    pod = named(release, "Deployment", "router").body["spec"]["template"]["spec"]
    binding = named(release, "RoleBinding", "router").body
    assert pod["serviceAccountName"] == account
    assert [each["name"] for each in binding["subjects"]] == [account]


def test_clients_reach_the_router_by_the_name_of_the_release(render: Render) -> None:
    alone = render({"nodes": {"instanceTypes": ["g6e.2xlarge"]}})
    (service,) = (each for each in alone.documents if each.kind == "Service")
    release = render(BASE)
    (router,) = (each for each in release.documents if each.kind == "Service" and each.name == service.name)
    assert router.body["spec"]["selector"]["app.kubernetes.io/component"] == "router"
    assert router.body["spec"]["ports"][0]["port"] == service.body["spec"]["ports"][0]["port"]


@pytest.mark.parametrize("role", ROLES)
def test_only_the_router_and_prometheus_ask_a_role_and_roles_reach_each_other(role: str) -> None:
    policy = named(presets.render(PRESET), "NetworkPolicy", role).body["spec"]
    asked, peers = policy["ingress"]
    assert asked["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "router"
    namespaces = [each["namespaceSelector"]["matchLabels"] for each in asked["from"] if "namespaceSelector" in each]
    assert namespaces == [{"kubernetes.io/metadata.name": "monitoring"}]
    # Besides, the pods of `helm test` and the load test, which ask on demand.
    own = [each["podSelector"]["matchLabels"] for each in asked["from"][1:] if "podSelector" in each]
    assert {each["app.kubernetes.io/component"] for each in own} <= {"test", "load"}
    (ports,) = peers["ports"]
    assert ports["port"] <= 5600 <= ports["endPort"]
    assert peers["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "engine"
    assert {"to": peers["from"], "ports": peers["ports"]} in policy["egress"]


def test_prefill_scales_on_prompts_that_wait_and_first_tokens() -> None:
    release = presets.render(PRESET)
    assert "queued_prompts" in formula(release, "prefill")
    assert "ttft > 3" in formula(release, "prefill")
    assert "itl" not in formula(release, "prefill")
    query = queries(release, "prefill")["queued_prompts"]
    assert "vllm:num_requests_waiting" in query
    assert "vllm:prompt_tokens_total" in query
    assert "-decode-" not in json.dumps(queries(release, "prefill"))


def test_decode_scales_on_sessions_cache_and_time_between_tokens() -> None:
    release = presets.render(PRESET)
    assert {"running", "waiting", "kv_cache", "itl"} <= set(queries(release, "decode"))
    assert "itl > 0.06" in formula(release, "decode")
    assert "-prefill-" not in json.dumps(queries(release, "decode"))


def test_what_a_prefill_replica_computes_in_its_time_is_one_replica(render: Render) -> None:
    rate: dict[str, Any] = {"autoscaling": {"signals": {"tokens": {"promptTokensPerSecond": 4000}}}}
    release = render(SCALED, rate, {"disaggregation": {"prefill": {"queueSeconds": 2}}})
    assert queries(release, "prefill")["queued_prompts"].endswith("/ 8000")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_takes_its_own_values_and_else_those_of_the_release(render: Render, role: str) -> None:
    own: Values = {
        "engine": {"maxNumSeqs": 32},
        "disaggregation": {
            role: {"replicas": 3, "maxNumSeqs": 8, "tensorParallelSize": 2, "instanceTypes": ["g6e.12xlarge"]}
        },
    }
    release = render(BASE, own)
    other = next(each for each in ROLES if each != role)
    seqs = {each: {o.name: o.value for o in engine(release, each).options}["--max-num-seqs"] for each in ROLES}
    assert seqs == {role: "8", other: "32"}
    replicas = {each: named(release, "Deployment", each).body["spec"]["replicas"] for each in ROLES}
    assert replicas == {role: 3, other: 1}
    plans = {each.container.document.name: each for each in plan_release(release)}
    gpus = {name.rsplit("-", 1)[1]: plan.gpus for name, plan in plans.items()}
    assert gpus == {role: 2, other: 1}


def test_the_router_is_ready_with_both_roles_unless_they_may_sleep(render: Render) -> None:
    def path(release: Release) -> str:
        (container,) = named(release, "Deployment", "router").body["spec"]["template"]["spec"]["containers"]
        return str(container["readinessProbe"]["httpGet"]["path"])

    assert path(render(SCALED)) == "/readiness"
    asleep: Values = {
        "autoscaling": {"wake": {"query": "sum(gateway_waiting)"}},
        "disaggregation": {"prefill": {"minReplicas": 0}, "decode": {"minReplicas": 0}},
    }
    assert path(render(SCALED, asleep)) == "/liveness"


def test_what_one_role_contradicts_is_said_of_that_role(refusals: Refusals) -> None:
    said = refusals(BASE, {"disaggregation": {"decode": {"tensorParallelSize": 3}}})
    assert any(each.startswith("[LLM104] disaggregation.decode: engine.tensorParallelSize: 3") for each in said)


def test_what_both_roles_contradict_is_said_once(refusals: Refusals) -> None:
    said = refusals(BASE, {"engine": {"maxModelLen": 40000}})
    assert len([each for each in said if "LLM143" in each]) == 1
    assert any(each.startswith("[LLM143] engine.maxModelLen:") for each in said)
