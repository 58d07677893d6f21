"""Reads from a cluster what became of a release: pods, endpoints, budgets, leftovers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.cluster import placement
from chartproof.cluster.api import Api
from chartproof.cluster.cloud import NO_NODE
from chartproof.cluster.objects import INSTANCE_TYPE
from chartproof.release import dig
from chartproof.workload import GPU_RESOURCE, MIG_PREFIX, mig_profile

Body = Mapping[str, Any]

KEEP = "helm.sh/resource-policy"
_RELEASE_NAME = "meta.helm.sh/release-name"
_RELEASE_NAMESPACE = "meta.helm.sh/release-namespace"


@dataclass(frozen=True, slots=True)
class PodPlace:
    """Where a pod runs; pool and capacity type are empty on nodes that no pool made."""

    pod: str
    node: str
    instance: str
    pool: str
    capacity_type: str
    zone: str
    gpus: int


def places(api: Api, namespace: str) -> list[PodPlace]:
    """Where each scheduled pod of a namespace is, finished Jobs included."""
    nodes = {each["metadata"]["name"]: each for each in api.list("v1", "Node")}
    found = []
    for pod in api.list("v1", "Pod", namespace):
        node = nodes.get(pod["spec"].get("nodeName", ""))
        if node is None:
            continue
        labels = node["metadata"]["labels"]
        found.append(
            PodPlace(
                pod=pod["metadata"]["name"],
                node=node["metadata"]["name"],
                instance=labels.get(INSTANCE_TYPE, ""),
                pool=labels.get(placement.NODE_POOL, ""),
                capacity_type=labels.get(placement.CAPACITY_TYPE, ""),
                zone=labels.get(placement.ZONE, ""),
                gpus=int(placement.requests(pod["spec"]).gpus) + _slices(pod["spec"]),
            )
        )
    return sorted(found, key=lambda each: (-each.gpus, each.pod))


def problems(api: Api, objects: Iterable[Body], namespace: str) -> list[str]:
    """What is not as it should be with the objects of an installed release; empty when all is well."""
    found = []
    for each in objects:
        judge = _JUDGES.get(each["kind"])
        if judge is None:
            continue
        where = each["metadata"].get("namespace") or namespace
        live = api.find(each["apiVersion"], each["kind"], each["metadata"]["name"], where)
        name = f"{each['kind']}/{each['metadata']['name']}"
        problem = judge(api, live, where) if live else "does not exist"
        if problem:
            found.append(f"{name} {problem}")
    return found


def pending(api: Api, namespace: str) -> list[str]:
    """Each pod that is not running, with what scheduler and cloud say about it."""
    found = []
    for pod in api.list("v1", "Pod", namespace):
        if dig(pod, "status", "phase") != "Pending":
            continue
        name = pod["metadata"]["name"]
        events = api.list("v1", "Event", namespace, fieldSelector=f"involvedObject.name={name}")
        from_cloud = [each["message"] for each in events if each["reason"] == NO_NODE]
        from_scheduler = [
            each.get("message", "")
            for each in dig(pod, "status", "conditions", default=())
            if each["type"] == "PodScheduled"
        ]
        found.append(f"Pod/{name} is pending: {'; '.join([*from_cloud[-1:], *from_scheduler[-1:]])}")
    return found


def failures(api: Api, namespace: str) -> list[str]:
    """Warnings of controllers in a namespace, such as pods that an admission plugin refuses."""
    said = {
        f"{each['involvedObject']['kind']}/{each['involvedObject']['name']}: {each['message']}"
        for each in api.list("v1", "Event", namespace)
        if each["reason"] in {"FailedCreate", "FailedMount"}
    }
    return sorted(said)


def _has_gpu(capacity: Body) -> bool:
    return bool(capacity.get(GPU_RESOURCE)) or any(str(each).startswith(MIG_PREFIX) for each in capacity)


def _slices(pod: Body) -> int:
    """Slices of a GPU (MIG) that a pod has."""
    return sum(bool(mig_profile(each)) for each in pod.get("containers") or ())


def uncovered_gpu_nodes(api: Api) -> list[str]:
    """GPU nodes that a DaemonSet of the cluster does not reach, and CPU nodes it wrongly runs on."""
    nodes = api.list("v1", "Node")
    gpu_nodes = {each["metadata"]["name"] for each in nodes if _has_gpu(dig(each, "status", "capacity", default={}))}
    found = []
    for daemon in api.list("apps/v1", "DaemonSet"):
        name = f"DaemonSet/{daemon['metadata']['namespace']}/{daemon['metadata']['name']}"
        reached = {
            each["spec"].get("nodeName")
            for each in api.list("v1", "Pod", daemon["metadata"]["namespace"])
            if _owner(each) == daemon["metadata"]["uid"] and _is_ready(each)
        }
        found += [f"{name} does not run on the GPU node {node}" for node in sorted(gpu_nodes - reached)]
        wrongly = {each["metadata"]["name"] for each in nodes} & reached - gpu_nodes
        found += [f"{name} runs on {node}, which has no GPU" for node in sorted(wrongly)]
    return found


def leftovers(api: Api, name: str, namespace: str) -> tuple[list[str], list[str]]:
    """Objects of an uninstalled release that are still there, and those it keeps on purpose."""
    left: set[str] = set()
    kept: set[str] = set()
    api.forget_resources()
    for resource, each in api.every_object():
        annotations = dig(each, "metadata", "annotations", default={})
        owned = annotations.get(_RELEASE_NAME) == name and annotations.get(_RELEASE_NAMESPACE) == namespace
        is_pod = resource.kind == "Pod" and each["metadata"].get("namespace") == namespace
        if owned or is_pod:
            identity = f"{resource.kind}/{each['metadata']['name']}"
            (kept if annotations.get(KEEP) == "keep" else left).add(identity)
    return sorted(left), sorted(kept)


def _workload(_api: Api, live: Body, _namespace: str) -> str:
    wanted = dig(live, "spec", "replicas", default=1)
    status = live.get("status") or {}
    ready = status.get("readyReplicas", 0)
    updated = status.get("updatedReplicas", 0)
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return "is not rolled out yet"
    return "" if ready == updated == wanted else f"has {ready} of {wanted} replicas ready"


def _daemons(_api: Api, live: Body, _namespace: str) -> str:
    status = live.get("status") or {}
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return "is not rolled out yet"
    return "" if wanted == ready else f"has {ready} of {wanted} pods ready"


def _job(_api: Api, live: Body, _namespace: str) -> str:
    wanted = dig(live, "spec", "completions", default=1)
    done = dig(live, "status", "succeeded", default=0)
    return "" if done >= wanted else "is not complete"


def _claim(_api: Api, live: Body, _namespace: str) -> str:
    phase = dig(live, "status", "phase")
    return "" if phase == "Bound" else f"is {phase}"


def _budget(_api: Api, live: Body, _namespace: str) -> str:
    status = live.get("status") or {}
    expected, healthy = status.get("expectedPods", 0), status.get("currentHealthy", 0)
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0) or expected == 0:
        return "selects no pod"
    return "" if healthy >= status.get("desiredHealthy", 0) else f"counts {healthy} of {expected} pods healthy"


def _service(api: Api, live: Body, namespace: str) -> str:
    if not dig(live, "spec", "selector"):
        return ""
    name = live["metadata"]["name"]
    selector = f"kubernetes.io/service-name={name}"
    slices = api.list("discovery.k8s.io/v1", "EndpointSlice", namespace, labelSelector=selector)
    ready = [
        address
        for each in slices
        for endpoint in each.get("endpoints") or ()
        if dig(endpoint, "conditions", "ready")
        for address in endpoint["addresses"]
    ]
    if not ready:
        return "has no ready endpoint"
    offered = {each.get("name", "") for part in slices for each in part.get("ports") or ()}
    missing = [each.get("name", "") for each in live["spec"].get("ports") or () if each.get("name", "") not in offered]
    return f"has endpoints, but none for the ports {missing}" if missing else ""


def _owner(pod: Body) -> str | None:
    owner: str | None = dig(pod, "metadata", "ownerReferences", 0, "uid")
    return owner


def _is_ready(pod: Body) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True" for each in dig(pod, "status", "conditions", default=())
    )


_JUDGES: Mapping[str, Callable[[Api, Body, str], str]] = {
    "Deployment": _workload,
    "StatefulSet": _workload,
    # Counts groups, in which every pod must be ready.
    "LeaderWorkerSet": _workload,
    "DaemonSet": _daemons,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "PodDisruptionBudget": _budget,
    "Service": _service,
}
"""What is asked of each kind; others have nothing to become."""
