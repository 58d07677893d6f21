"""What is read from the server around a pod."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest

from chartproof.cluster.machines import lifecycle
from chartproof.cluster.machines.live_release import Surroundings, surroundings_of
from chartproof.cluster.machines.pod_worker import cold_starts
from chartproof.cluster.machines.watch import Client
from chartproof.cluster.placement import NODE_POOL
from chartproof.plan import plan_release
from chartproof.release import dig
from tests import presets
from tests.cluster.machines import virtual
from tests.cluster.machines.doubles import container, pod

Body = Mapping[str, Any]


class Store:
    """Objects by their path."""

    def __init__(self, objects: Mapping[str, Any]) -> None:
        self.objects = objects
        self.asked: list[str] = []

    async def find(self, path: str) -> Any:
        self.asked.append(path)
        return self.objects.get(path)


def owner(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": True}]


def live(stem: str, *, newer_image: str = "") -> tuple[Store, dict[str, Any], dict[str, Any]]:
    """A preset's objects as the server has them, a pod of its Deployment, and the pod's node."""
    release = presets.render(stem)
    deployment = copy.deepcopy(dict(next(release.of_kind("Deployment")).body))
    template = copy.deepcopy(deployment["spec"]["template"])
    if newer_image:
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = newer_image
    pools = list(release.of_kind("NodePool"))
    objects: dict[str, Any] = {
        "/apis/apps/v1/namespaces/llm/deployments/engine": deployment,
        "/apis/apps/v1/namespaces/llm/replicasets/engine-1": {
            "metadata": {"name": "engine-1", "ownerReferences": owner("Deployment", "engine")},
            "spec": {"template": template},
        },
        "/apis/karpenter.k8s.aws": {"preferredVersion": {"groupVersion": "karpenter.k8s.aws/v1"}},
        "/api/v1/namespaces/llm/secrets/mistral-7b-api-key": {
            "data": {"api-key": base64.b64encode(b"let-me-in").decode()}
        },
    }
    for each in pools:
        objects[f"/apis/karpenter.sh/v1/nodepools/{each.name}"] = each.body
    for each in release.of_kind("EC2NodeClass"):
        objects[f"/apis/karpenter.k8s.aws/v1/ec2nodeclasses/{each.name}"] = each.body
    for each in release.of_kind("ConfigMap"):
        objects[f"/api/v1/namespaces/llm/configmaps/{each.name}"] = each.body
    metadata = {**template["metadata"], "name": "engine-1-abcde", "namespace": "llm", "uid": "1"}
    body = {"metadata": {**metadata, "ownerReferences": owner("ReplicaSet", "engine-1")}, "spec": template["spec"]}
    plan = plan_release(release)[0]
    instance = plan.candidates[0].name if plan.candidates else "g5.xlarge"
    labels = {"node.kubernetes.io/instance-type": instance, **({NODE_POOL: pools[0].name} if pools else {})}
    return Store(objects), body, {"metadata": {"name": "gpu-1", "labels": labels}}


def read(store: Store, body: Body, node: Body) -> Surroundings:
    return virtual.run(surroundings_of(cast("Client", store), body, node))


MODELS = tuple(each for each in presets.STEMS if not each.startswith("platform-"))


@pytest.mark.parametrize("stem", MODELS)
def test_a_live_pods_plan_is_that_of_its_preset_on_its_node(stem: str) -> None:
    store, body, node = live(stem)
    found = cold_starts(read(store, body, node).release, node)
    plan = plan_release(presets.render(stem))[0]
    name = str(plan.container.container["name"])
    instance = plan.facts.instances[node["metadata"]["labels"]["node.kubernetes.io/instance-type"]]
    assert found[name].phases == plan.cold_start_on(instance).phases
    timing = lifecycle.timing(body, found)
    phases = {each.name: each.seconds for each in found[name].phases if not each.in_container}
    assert timing.pulls == {plan.container.container["image"]: phases["image pull"]}
    assert list(timing.errands.values()) == [phases[key] for key in ("weights download",) if key in phases]


def test_during_a_rollout_an_older_pod_keeps_its_own_template() -> None:
    store, body, node = live(MODELS[0], newer_image="vllm/vllm-openai:v9.9.9")
    release = read(store, body, node).release
    (deployment,) = release.of_kind("Deployment")
    image = dig(deployment.body, "spec", "template", "spec", "containers", 0, "image")
    assert image == body["spec"]["containers"][0]["image"]


def test_pool_class_and_config_maps_belong_to_it() -> None:
    store, body, node = live("llama-3.1-8b-g6e-serverless")
    kinds = [each.kind for each in read(store, body, node).release.documents]
    assert kinds[:2] == ["Deployment", "ConfigMap"]
    assert "NodePool" in kinds


def test_the_value_of_a_variable_from_a_secret_is_read() -> None:
    store, body, node = live("mistral-7b-g5-efs")
    assert read(store, body, node).environment["vllm"] == {"VLLM_API_KEY": "let-me-in"}


def test_nothing_is_read_for_a_pod_that_runs_no_engine() -> None:
    store = Store({})
    body = pod(container("nginx"))
    found = read(store, body, {"metadata": {"name": "system-0"}})
    assert store.asked == []
    assert [each.kind for each in found.release.documents] == ["Pod"]
    assert cold_starts(found.release, {}) == {}


def test_an_engine_without_an_owner_is_its_own_release() -> None:
    _, body, node = live(MODELS[0])
    body["metadata"] = {**body["metadata"], "ownerReferences": []}
    found = read(Store({}), body, node)
    assert [each.kind for each in found.release.documents] == ["Pod"]
    assert cold_starts(found.release, node)
