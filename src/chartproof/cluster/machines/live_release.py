"""What a pod's programs need to know, read from the server: its release, and the values of variables."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chartproof.cluster.api import token_request
from chartproof.cluster.machines.programs import is_monitor
from chartproof.cluster.machines.real_containers import kind_of
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
    # The leader of a group owns the StatefulSet of its workers.
    "Pod": "pods",
}
#: Where the values of variables are kept, by the reference's name.
_KEPT_IN = {"secretKeyRef": "secrets", "configMapKeyRef": "configmaps"}
_TOKEN_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known around a pod.

    `release` is what `chartproof.plan` reads: the pod's workload with the template that made this pod, its ConfigMaps,
    and its node's pool and class. `environment` has, by container, the values of variables from Secrets and ConfigMaps.
    `token` is that of the pod's ServiceAccount, where one of its programs asks the server.
    """

    release: Release
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    token: str = ""


def alone(pod: Body) -> Surroundings:
    """What a pod says of itself."""
    return Surroundings(_release([{"apiVersion": "v1", "kind": "Pod", **pod}], pod["metadata"]["namespace"]))


async def surroundings_of(client: Client, pod: Body, node: Body) -> Surroundings:
    """What is known around a pod; only for programs that are played or real is anything read. Raises ApiError."""
    containers = dig(pod, "spec", "containers", default=())
    real = [kind for each in containers if (kind := kind_of(each)) is not None]
    if not real and not any(recognise_engine(each) is not None or is_monitor(each) for each in containers):
        return alone(pod)
    found = [await _workload(client, pod), *await _config_maps(client, pod), *await _pool(client, node)]
    environment = {each["name"]: await _environment(client, pod, each) for each in containers}
    token = await _token(client, pod) if any(each.asks_server for each in real) else ""
    return Surroundings(_release(found, pod["metadata"]["namespace"]), environment, token)


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
    found: list[Body] = []
    for name in sorted(set(_config_map_names(pod))):
        body = await client.find(path_of("v1", "configmaps", pod["metadata"]["namespace"], name))
        if body is not None:
            found.append({"apiVersion": "v1", "kind": "ConfigMap", **body})
    return found


def _config_map_names(pod: Body) -> Iterator[str]:
    for volume in dig(pod, "spec", "volumes", default=()):
        sources = [volume, *dig(volume, "projected", "sources", default=())]
        yield from (name for each in sources if (name := dig(each, "configMap", "name")))
    for container in dig(pod, "spec", "containers", default=()):
        yield from (name for each in container.get("envFrom") or () if (name := dig(each, "configMapRef", "name")))


async def _environment(client: Client, pod: Body, container: Body) -> dict[str, str]:
    found = {}
    for variable in container.get("env") or ():
        for reference, plural in _KEPT_IN.items():
            kept = dig(variable, "valueFrom", reference)
            if not kept:
                continue
            body = await client.find(path_of("v1", plural, pod["metadata"]["namespace"], kept["name"]))
            value = dig(body, "data", kept["key"])
            if value is not None:
                secret = plural == "secrets"
                found[variable["name"]] = base64.b64decode(value).decode(errors="replace") if secret else value
    return found


async def _token(client: Client, pod: Body) -> str:
    """A token of the pod's ServiceAccount, which lasts for as long as any run does."""
    account = str(dig(pod, "spec", "serviceAccountName", default="default"))
    body = token_request(_TOKEN_SECONDS)
    path = path_of("v1", "serviceaccounts", pod["metadata"]["namespace"], account, "token")
    return str(dig(await client.insist("POST", path, body=body), "status", "token"))


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
