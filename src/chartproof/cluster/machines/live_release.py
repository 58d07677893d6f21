"""The release that a live pod belongs to, from the objects on the server: what `chartproof.plan` reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chartproof.cluster.machines.watch import Client, path_of
from chartproof.cluster.placement import NODE_POOL
from chartproof.release import Document, Release, dig
from chartproof.workload import recognise_engine

Body = Mapping[str, Any]

_PLURALS = {
    "ReplicaSet": "replicasets",
    "Deployment": "deployments",
    "StatefulSet": "statefulsets",
    "DaemonSet": "daemonsets",
    "LeaderWorkerSet": "leaderworkersets",
    "Job": "jobs",
}


def runs_engine(pod: Body) -> bool:
    """Whether a container of the pod is an engine."""
    return any(recognise_engine(each) is not None for each in dig(pod, "spec", "containers", default=()))


async def release_of(client: Client, pod: Body, node: Body) -> Release:
    """The pod's workload with the template that made this pod, its ConfigMaps, and its node's pool and class.

    Only for a pod with an engine is anything read; another one's release is the pod itself.
    """
    namespace = pod["metadata"]["namespace"]
    if not runs_engine(pod):
        return _release([{"apiVersion": "v1", "kind": "Pod", **pod}], namespace)
    workload = await _workload(client, pod)
    found = [workload, *await _config_maps(client, pod), *await _pool(client, node)]
    return _release(found, namespace)


def _release(bodies: list[Body], namespace: str) -> Release:
    documents = tuple(Document(body, index=index) for index, body in enumerate(bodies))
    return Release(documents[0].name, documents, namespace, origin="the cluster")


async def _workload(client: Client, pod: Body) -> Body:
    """The object at the top of the pod's owners; the pod itself where there is none that can be read."""
    top: Body = {"apiVersion": "v1", "kind": "Pod", **pod}
    template: Any = None
    while (owner := _controller(top)) is not None and owner["kind"] in _PLURALS:
        namespace = pod["metadata"]["namespace"]
        path = path_of(owner["apiVersion"], _PLURALS[owner["kind"]], namespace, owner["name"])
        found = await client.find(path)
        if found is None:
            break
        top = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], **found}
        if top["kind"] == "ReplicaSet":
            # During a rollout the Deployment's template is no longer, or not yet, that of this pod.
            template = dig(top, "spec", "template")
    if template is not None and top["kind"] == "Deployment":
        top = {**top, "spec": {**top["spec"], "template": template}}
    return top


def _controller(body: Body) -> Body | None:
    owners = dig(body, "metadata", "ownerReferences", default=())
    return next((each for each in owners if each.get("controller")), None)


async def _config_maps(client: Client, pod: Body) -> list[Body]:
    names = {dig(each, "configMap", "name") for each in dig(pod, "spec", "volumes", default=())}
    for container in dig(pod, "spec", "containers", default=()):
        names |= {dig(each, "configMapRef", "name") for each in container.get("envFrom") or ()}
    found: list[Body] = []
    for name in sorted(each for each in names if each):
        body = await client.find(path_of("v1", "configmaps", pod["metadata"]["namespace"], name))
        if body is not None:
            found.append({"apiVersion": "v1", "kind": "ConfigMap", **body})
    return found


async def _pool(client: Client, node: Body) -> list[Body]:
    """The NodePool that a node comes from, and the class that it names."""
    name = dig(node, "metadata", "labels", NODE_POOL)
    pool = await client.find(path_of("karpenter.sh/v1", "nodepools", name=name)) if name else None
    if pool is None:
        return []
    reference = dig(pool, "spec", "template", "spec", "nodeClassRef", default={})
    group, kind = reference.get("group", ""), reference.get("kind", "")
    served = await client.find(f"/apis/{group}") if group else None
    version = dig(served, "preferredVersion", "groupVersion")
    if version is None:
        return [pool]
    # EC2NodeClass, KWOKNodeClass, NodeClass: kinds of this role end alike.
    node_class = await client.find(path_of(version, f"{kind.lower()}es", name=reference.get("name", "")))
    return [pool, node_class] if node_class else [pool]
