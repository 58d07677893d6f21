"""Plays the cloud of a light cluster: makes the nodes that unschedulable pods need and the volumes that claims want.

Runs as a process of its own beside a cluster, as long as that lives:
`python -m chartproof.cluster.cloud DIRECTORY`. Stands in for Karpenter and a storage driver; what
they would refuse, it refuses, and says so in an event on the pod. A live cluster has Karpenter itself.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chartproof.catalog import Instance, catalog
from chartproof.cluster import placement
from chartproof.cluster.api import Api, ApiError
from chartproof.cluster.objects import INSTANCE_TYPE, ZONES, node_for
from chartproof.cluster.placement import NODE_POOL, Body, NoPlacement, Pool, Resources
from chartproof.cluster.state import Place
from chartproof.cluster.volumes import Volumes
from chartproof.release import dig

_PAUSE_SECONDS = 0.25
_NOMINATION_SECONDS = 10
_PATIENCE = 40

NO_NODE = "NoNode"
"""Reason of the event that says why a pod gets no node."""


@dataclass(frozen=True, slots=True)
class Nomination:
    """The node that a pod is expected on, and until when (monotonic seconds)."""

    node: str
    until: float


class Cloud:
    """One cluster's nodes and volumes."""

    def __init__(self, api: Api, instances: Iterable[Instance]) -> None:
        self._api = api
        self._instances = {each.name: each for each in instances}
        self._numbers = Counter[str]()
        self._nominated: dict[str, Nomination] = {}
        self._explained: dict[str, str] = {}
        self._volumes = Volumes(api)

    def step(self) -> None:
        """Look once; give what is asked for and take back what nobody owns any more."""
        self._volumes.step()
        pods = self._api.list("v1", "Pod")
        waiting = [pod for pod in pods if is_unschedulable(pod)]
        nodes = self._api.list("v1", "Node", labelSelector=NODE_POOL)
        if not waiting and not nodes:
            return
        pools = self._api.list("karpenter.sh/v1", "NodePool")
        nodes = self._remove_orphans(nodes, {pool["metadata"]["name"] for pool in pools})
        for pod in waiting:
            self._provide_node(pod, pods, nodes, pools)

    def _remove_orphans(self, nodes: list[dict[str, Any]], pools: set[str]) -> list[dict[str, Any]]:
        """Delete the nodes of deleted pools, as Karpenter does; return the others."""
        kept = []
        for node in nodes:
            if node["metadata"]["labels"][NODE_POOL] in pools:
                kept.append(node)
            else:
                self._remove(node["metadata"]["name"])
        return kept

    def _remove(self, node: str) -> None:
        """Delete a node and, as a machine that ends takes them along, its pods."""
        self._api.delete("v1", "Node", node)
        for pod in self._api.list("v1", "Pod", fieldSelector=f"spec.nodeName={node}"):
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            self._api.delete("v1", "Pod", name, namespace, at_once=True)

    def _provide_node(
        self, pod: Body, pods: Iterable[Body], nodes: list[dict[str, Any]], pools: Iterable[Body]
    ) -> None:
        """Make a node for the pod, unless one made for another pod has room for both."""
        daemons = [dig(each, "spec", "template", "spec", default={}) for each in self._api.list("apps/v1", "DaemonSet")]
        zones = self._company(pod, pods, nodes)
        nomination = self._nominated.get(pod["metadata"]["uid"])
        # Where the scheduler has had its time, it did not agree that the pod fits.
        tried = nomination.node if nomination and time.monotonic() > nomination.until else ""
        for node in nodes:
            there = not zones or node["metadata"]["labels"].get(placement.ZONE) in zones
            if there and node["metadata"]["name"] != tried and self._fits(pod, node, pods, daemons):
                self._nominate(pod, node["metadata"]["name"])
                return
        classes = [(each, self._class_of(each)) for each in pools]
        unusable = [_without_class(each) for each, found in classes if found is None]
        usable = [self._pool(each, found, nodes) for each, found in classes if found is not None]
        outcome = placement.place(
            pod["spec"], usable, self._instances.values(), daemons=daemons, zones=ZONES, only=zones
        )
        if isinstance(outcome, NoPlacement):
            self._explain(pod, str(NoPlacement((*unusable, *outcome.reasons))))
            return
        self._numbers[outcome.pool] += 1
        node = node_for(outcome, self._numbers[outcome.pool])
        nodes.append(self._api.create(node))
        self._nominate(pod, node["metadata"]["name"])

    def _company(self, pod: Body, pods: Iterable[Body], nodes: Iterable[Body]) -> set[str]:
        """The zones where those are that the pod must be beside, or will be: a group's pods come at the same time."""
        near = [
            {**each, "spec": {**each["spec"], "nodeName": each["spec"].get("nodeName", self._nominee(each) or "")}}
            for each in pods
            if each["metadata"]["namespace"] == pod["metadata"]["namespace"]
            and each["metadata"]["uid"] != pod["metadata"]["uid"]
        ]
        labels = {each["metadata"]["name"]: each["metadata"]["labels"] for each in nodes}
        return placement.beside(pod, near, labels, placement.ZONE)

    def _fits(self, pod: Body, node: Body, pods: Iterable[Body], daemons: Iterable[Body]) -> bool:
        spec, labels = pod["spec"], node["metadata"]["labels"]
        taints = [
            # What the node lifecycle controller adds until the node is ready does not count.
            each
            for each in dig(node, "spec", "taints", default=())
            if not each["key"].startswith("node.kubernetes.io/")
        ]
        instance = self._instances.get(labels[INSTANCE_TYPE])
        if instance is None or not placement.selects(spec, labels):
            return False
        if not all(placement.tolerates(spec, each) for each in taints):
            return False
        name = node["metadata"]["name"]
        here = [
            each["spec"]
            for each in pods
            if each["metadata"]["uid"] != pod["metadata"]["uid"]
            and each["spec"].get("nodeName", self._nominee(each)) == name
            and dig(each, "metadata", "ownerReferences", 0, "kind") != "DaemonSet"
        ]
        here += [
            each
            for each in daemons
            if placement.selects(each, labels) and all(placement.tolerates(each, taint) for taint in taints)
        ]
        used = sum((placement.requests(each) for each in here), placement.requests(spec))
        return used.fits(placement.allocatable(instance))

    def _nominee(self, pod: Body) -> str | None:
        nomination = self._nominated.get(pod["metadata"]["uid"])
        return nomination.node if nomination else None

    def _nominate(self, pod: Body, node: str) -> None:
        current = self._nominated.get(pod["metadata"]["uid"])
        if current is None or current.node != node:
            until = time.monotonic() + _NOMINATION_SECONDS
            self._nominated[pod["metadata"]["uid"]] = Nomination(node, until)

    def _class_of(self, pool: Body) -> Body | None:
        """The node class that a pool refers to."""
        reference = dig(pool, "spec", "template", "spec", "nodeClassRef", default={})
        group, kind, name = (reference.get(key, "") for key in ("group", "kind", "name"))
        for resource in self._api.resources.values():
            if resource.kind == kind and resource.api_version.partition("/")[0] == group:
                return self._api.find(resource.api_version, kind, name)
        return None

    def _pool(self, body: Body, node_class: Body, nodes: Iterable[Body]) -> Pool:
        name = body["metadata"]["name"]
        labels = [each["metadata"]["labels"] for each in nodes if each["metadata"]["labels"][NODE_POOL] == name]
        types = [self._instances[each[INSTANCE_TYPE]] for each in labels]
        used = sum((placement.capacity(each) for each in types), Resources())
        reservations = bool(dig(node_class, "spec", "capacityReservationSelectorTerms", default=()))
        return Pool(body, used, Counter(each.get(placement.ZONE, "") for each in labels), reservations)

    def _explain(self, pod: Body, message: str) -> None:
        """Say once, in an event on the pod, why it gets no node."""
        metadata = pod["metadata"]
        if self._explained.get(metadata["uid"]) == message:
            return
        self._explained[metadata["uid"]] = message
        self._api.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "generateName": f"{metadata['name'][:200]}.",
                    "namespace": metadata["namespace"],
                },
                "involvedObject": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                },
                "type": "Warning",
                "reason": NO_NODE,
                "message": message[:1024],
                "source": {"component": "chartproof-cloud"},
            }
        )


def _without_class(pool: Body) -> str:
    """Why no node can come of a pool whose node class does not exist."""
    reference = dig(pool, "spec", "template", "spec", "nodeClassRef", default={})
    group, kind, name = (reference.get(key, "") for key in ("group", "kind", "name"))
    return f"pool {pool['metadata']['name']}: its node class {kind}.{group}/{name} does not exist"


def is_unschedulable(pod: Body) -> bool:
    """Whether the scheduler found no node for the pod."""
    return "deletionTimestamp" not in pod["metadata"] and any(
        each["type"] == "PodScheduled" and each.get("reason") == "Unschedulable"
        for each in dig(pod, "status", "conditions", default=())
    )


def main(directory: Path) -> None:
    """Serve the cluster in `directory` until its API server is gone."""
    place = Place(directory.parent.parent, directory.name)
    cloud = Cloud(Api(place.kubeconfig), catalog().instances.values())
    failures = 0
    while failures < _PATIENCE:
        try:
            cloud.step()
            failures = 0
        except ApiError as error:
            # Objects change while they are read; only a server that stays away ends this.
            failures = failures + 1 if error.status == 0 else 0
            print(error, file=sys.stderr, flush=True)
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    if os.fork():
        # The parent leaves at once, so that init, and not the caller, reaps what goes on here.
        os._exit(0)
    os.setsid()
    main(Path(sys.argv[1]))
