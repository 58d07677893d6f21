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
from chartproof.release import Release, dig
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
    """A preset's objects as the server has them, a pod of its Deployment (or a group's worker), and the pod's node."""
    release = presets.render(stem)
    if any(release.of_kind("LeaderWorkerSet")):
        return _around(release, *_worker(release))
    deployment = copy.deepcopy(dict(next(release.of_kind("Deployment")).body))
    template = copy.deepcopy(deployment["spec"]["template"])
    if newer_image:
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = newer_image
    objects: dict[str, Any] = {
        "/apis/apps/v1/namespaces/llm/deployments/engine": deployment,
        "/apis/apps/v1/namespaces/llm/replicasets/engine-1": {
            "metadata": {"name": "engine-1", "ownerReferences": owner("Deployment", "engine")},
            "spec": {"template": template},
        },
    }
    metadata = {**template["metadata"], "name": "engine-1-abcde", "namespace": "llm", "uid": "1"}
    body = {"metadata": {**metadata, "ownerReferences": owner("ReplicaSet", "engine-1")}, "spec": template["spec"]}
    return _around(release, objects, body)


def _worker(release: Release) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a LeaderWorkerSet's controller and that of StatefulSets make of it, and a worker of the first group."""
    document = next(release.of_kind("LeaderWorkerSet"))
    name, template = document.name, copy.deepcopy(document.get("spec", "leaderWorkerTemplate", "workerTemplate"))

    def owned(name: str, kind: str, owner: str, version: str) -> dict[str, Any]:
        reference = {"apiVersion": version, "kind": kind, "name": owner, "controller": True}
        return {"metadata": {"name": name, "ownerReferences": [reference]}}

    apps, groups = "/apis/apps/v1/namespaces/llm/statefulsets", "/apis/leaderworkerset.x-k8s.io/v1/namespaces/llm"
    objects = {
        f"{groups}/leaderworkersets/{name}": document.body,
        f"{apps}/{name}": owned(name, "LeaderWorkerSet", name, "leaderworkerset.x-k8s.io/v1"),
        f"/api/v1/namespaces/llm/pods/{name}-0": owned(f"{name}-0", "StatefulSet", name, "apps/v1"),
        f"{apps}/{name}-0": owned(f"{name}-0", "Pod", f"{name}-0", "v1"),
    }
    worker = owned(f"{name}-0-1", "StatefulSet", f"{name}-0", "apps/v1")["metadata"]
    return objects, {
        "metadata": {**template["metadata"], **worker, "namespace": "llm", "uid": "1"},
        "spec": template["spec"],
    }


def _around(
    release: Release, objects: dict[str, Any], body: dict[str, Any]
) -> tuple[Store, dict[str, Any], dict[str, Any]]:
    """A workload's objects and a pod of it, with the rest of the release and a node."""
    pools = list(release.of_kind("NodePool"))
    objects |= {
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
    plan = plan_release(release)[0]
    instance = plan.candidates[0].name if plan.candidates else "g5.xlarge"
    labels = {"node.kubernetes.io/instance-type": instance, **({NODE_POOL: pools[0].name} if pools else {})}
    return Store(objects), body, {"metadata": {"name": "gpu-1", "labels": labels}}


def read(store: Store, body: Body, node: Body) -> Surroundings:
    return virtual.run(surroundings_of(cast("Client", store), body, node))


MODELS = tuple(each for each in presets.STEMS if not each.startswith("platform-"))
DEPLOYED = "llama-3.1-8b-awq-g6"
GROUPS = "deepseek-v3.2-p5-groups"


@pytest.mark.parametrize("stem", MODELS)
def test_a_live_pods_plan_is_that_of_its_preset_on_its_node(stem: str) -> None:
    store, body, node = live(stem)
    found = cold_starts(read(store, body, node).release, node)
    plan = plan_release(presets.render(stem))[0]
    # The pod of a group is a worker here: its containers start like the leader's, which has the plan.
    name = str(body["spec"]["containers"][0]["name"])
    instance = plan.facts.instances[node["metadata"]["labels"]["node.kubernetes.io/instance-type"]]
    assert found[name].phases == plan.cold_start_on(instance).phases
    timing = lifecycle.timing(body, found)
    phases = {each.name: each.seconds for each in found[name].phases if not each.in_container}
    assert timing.pulls == {plan.container.container["image"]: phases["image pull"]}
    assert list(timing.errands.values()) == [phases[key] for key in ("weights download",) if key in phases]


def test_during_a_rollout_an_older_pod_keeps_its_own_template() -> None:
    store, body, node = live(DEPLOYED, newer_image="vllm/vllm-openai:v9.9.9")
    release = read(store, body, node).release
    (deployment,) = release.of_kind("Deployment")
    image = dig(deployment.body, "spec", "template", "spec", "containers", 0, "image")
    assert image == body["spec"]["containers"][0]["image"]


def test_a_worker_belongs_to_the_set_whose_leader_owns_the_workers() -> None:
    store, body, node = live(GROUPS)
    release = read(store, body, node).release
    assert release.documents[0].kind == "LeaderWorkerSet"
    named = {each["name"] for pod in release.documents[0].pod_templates for each in pod.containers()}
    assert body["spec"]["containers"][0]["name"] in named
    assert len(named) == 2


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
    _, body, node = live(DEPLOYED)
    body["metadata"] = {**body["metadata"], "ownerReferences": []}
    found = read(Store({}), body, node)
    assert [each.kind for each in found.release.documents] == ["Pod"]
    assert cold_starts(found.release, node)
