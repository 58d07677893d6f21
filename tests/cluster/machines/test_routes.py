from __future__ import annotations

from typing import Any

import pytest

from chartproof.cluster.machines.routes import Route, Routes
from chartproof.cluster.machines.watch import Change
from tests.cluster.machines.talker import service


def deployment(name: str = "llama", *, namespace: str = "llm", arguments: str = "", **container: Any) -> dict[str, Any]:
    """A Deployment whose pods run vLLM."""
    words = ["vllm", "serve", "/models/llama", *arguments.split()]
    vllm = {"name": "vllm", "image": "vllm/vllm-openai:v0.33.0", "command": words} | container
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 0,
            "template": {"metadata": {"labels": {"app": name, "tier": "gpu"}}, "spec": {"containers": [vllm]}},
        },
    }


NAMED_PORT: dict[str, Any] = {"ports": [{"name": "http", "containerPort": 8000}]}


def routes(*bodies: dict[str, Any]) -> Routes:
    found = Routes()
    for each in bodies:
        if each.get("kind") == "Deployment":
            found.workload_changed(Change.ADDED, each)
        else:
            found.service_changed(Change.ADDED, each)
    return found


def test_a_service_in_front_of_an_engine_is_the_way_to_its_model_at_zero_replicas_too() -> None:
    found = routes(service(), deployment(arguments="--served-model-name llama-3 meta/llama", **NAMED_PORT))
    assert found.all() == [Route("llm", "llama", 80, ("llama-3", "meta/llama"))]
    assert found.of_model("meta/llama") == found.all()
    assert found.of_service("llm", "llama") == found.all()[0]


def test_a_model_without_a_name_has_that_of_its_weights() -> None:
    assert routes(service(), deployment(**NAMED_PORT)).all()[0].model == "/models/llama"


@pytest.mark.parametrize(
    ("target", "arguments", "leads"),
    [
        (8000, "", True),
        (9000, "--port 9000", True),
        ("http", "", False),
        (9000, "", False),
    ],
)
def test_the_services_port_must_be_the_engines(target: object, arguments: str, leads: bool) -> None:
    found = routes(service(target=target), deployment(arguments=arguments))
    assert bool(found.all()) is leads


def test_a_port_without_a_target_leads_to_its_own_number() -> None:
    body = service(port=8000)
    del body["spec"]["ports"][0]["targetPort"]
    assert routes(body, deployment()).all()[0].port == 8000


@pytest.mark.parametrize("selector", [{"app": "other"}, {"app": "llama", "tier": "cpu"}, {}, None])
def test_a_service_that_selects_other_pods_leads_to_no_model(selector: dict[str, str] | None) -> None:
    assert routes(service(selector=selector), deployment(**NAMED_PORT)).all() == []


def test_a_deployment_of_another_namespace_is_not_selected() -> None:
    assert routes(service(), deployment(namespace="other", **NAMED_PORT)).all() == []


@pytest.mark.parametrize(
    "container",
    [
        {"command": ["sleep", "1"]},
        {"image": "nginx:1", "command": None},
        {"command": ["vllm", "serve", "x", "--headless"]},
    ],
)
def test_what_serves_no_model_has_no_route(container: dict[str, Any]) -> None:
    assert routes(service(), deployment(**NAMED_PORT, **container)).all() == []


def test_the_leaders_of_a_group_of_pods_are_selected_by_what_its_controller_calls_them() -> None:
    template = deployment(**NAMED_PORT)["spec"]["template"]
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "llama", "namespace": "llm"},
        "spec": {"leaderWorkerTemplate": {"size": 2, "workerTemplate": template}},
    }
    label = "leaderworkerset.sigs.k8s.io"
    selector = {f"{label}/name": "llama", f"{label}/worker-index": "0"}
    found = routes(service(selector=selector))
    found.workload_changed(Change.ADDED, group)
    assert [each.service for each in found.all()] == ["llama"]


def test_of_several_services_the_one_with_an_address_is_the_way() -> None:
    selector = {"app": "llama"}
    found = routes(
        service("a-headless", clusterIP="None", selector=selector),
        service("b", selector=selector),
        service("c", selector=selector),
        deployment(**NAMED_PORT),
    )
    assert [each.service for each in found.all()] == ["b"]


def test_two_namespaces_may_serve_one_model() -> None:
    there = service()
    there["metadata"]["namespace"] = "staging"
    found = routes(service(), there, deployment(**NAMED_PORT), deployment(namespace="staging", **NAMED_PORT))
    assert [each.namespace for each in found.of_model("/models/llama")] == ["llm", "staging"]
    assert [each.namespace for each in found.of_model("/models/llama", "staging")] == ["staging"]


def test_changes_are_told_and_those_of_a_status_are_not() -> None:
    found = routes(service(), deployment(**NAMED_PORT))
    told: list[int] = []
    found.on_change(lambda: told.append(len(found.all())))
    found.workload_changed(Change.MODIFIED, deployment(**NAMED_PORT) | {"status": {"readyReplicas": 1}})
    assert told == []
    found.workload_changed(Change.MODIFIED, deployment(arguments="--served-model-name new", **NAMED_PORT))
    assert found.all()[0].model == "new"
    found.service_changed(Change.DELETED, service())
    found.service_changed(Change.ADDED, service())
    found.workload_changed(Change.DELETED, deployment(**NAMED_PORT))
    found.workload_changed(Change.DELETED, deployment(**NAMED_PORT))
    assert told == [1, 0, 1, 0]


HALVES = {"prefill": "kv_producer", "decode": "kv_consumer"}


def half(role: str) -> dict[str, Any]:
    """A Deployment that computes prompts or answers only."""
    told = f'{{"kv_connector":"NixlConnector","kv_role":"{HALVES[role]}"}}'
    return deployment(role, arguments=f"--served-model-name llama-3 --kv-transfer-config {told}", **NAMED_PORT)


def router(*, selects: str = "app=decode tier=gpu") -> dict[str, Any]:
    words = f"--port 8080 --prefill-selector app=prefill --decode-selector {selects} --kv-connector nixl"
    ports = [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 29000}]
    return deployment(
        "router", image="vllm/vllm-router:v0.1.17", command=["vllm-router"], args=words.split(), ports=ports
    )


def test_the_way_to_a_model_of_two_roles_is_its_router() -> None:
    bodies = [service(name, selector={"app": name}, target="http") for name in ("prefill", "decode", "router")]
    found = routes(*bodies, half("prefill"), half("decode"), router())
    assert found.all() == [Route("llm", "router", 80, ("llama-3",))]
    assert routes(*bodies, half("prefill"), half("decode")).all() == []
    assert routes(*bodies, half("prefill"), half("decode"), router(selects="app=other")).all() == []
    assert routes(*bodies, router()).all() == []


def test_a_router_is_found_again_when_its_engines_come_later() -> None:
    found = routes(service("router", selector={"app": "router"}, target="http"), router())
    assert found.all() == []
    found.workload_changed(Change.ADDED, half("decode"))
    assert [each.model for each in found.all()] == ["llama-3"]
