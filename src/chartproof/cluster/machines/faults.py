"""What can be done to pods and nodes on purpose, as it happens in a cloud; all times are simulated seconds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from http import HTTPStatus
from typing import Any

from chartproof.cluster.api import ApiError
from chartproof.cluster.machines import lifecycle
from chartproof.cluster.machines.kubelet import Kubelets
from chartproof.cluster.machines.pod_worker import GONE, TERMINAL, PodWorker
from chartproof.cluster.machines.server import Server
from chartproof.cluster.machines.watch import JSON, MERGE, STRATEGIC_MERGE, Change, Client, Watch, key_of, path_of
from chartproof.cluster.placement import GPU
from chartproof.cluster.speed import Speed
from chartproof.errors import UsageError
from chartproof.release import dig

Body = Mapping[str, Any]

#: From a node's last sign of life to the moment it counts as not ready (kube-controller-manager's
#: `--node-monitor-grace-period`); the cloud's controller then finds no instance and removes the node.
SILENCE_SECONDS = 50.0
#: From the notice to the end of a spot instance.
NOTICE_SECONDS = 120.0
#: Between two attempts to evict a pod that its disruption budget protects.
_EVICTION_SECONDS = 5.0
#: Name that stands for the next node with a GPU to register.
NEXT = "next"

_NODE_CLAIMS = path_of("karpenter.sh/v1", "nodeclaims")
_TERMINATION_FINALIZER = "karpenter.sh/termination"
_OUT_OF_MEMORY = "OOMKilled"
_EXIT_OUT_OF_MEMORY = 137

log = logging.getLogger(__name__)


class Faults:
    """Faults of one cluster. What takes time goes on after the call has returned."""

    def __init__(self, client: Client, kubelets: Kubelets, nodes: Watch, speed: Speed) -> None:
        self._client = client
        self._kubelets = kubelets
        self._nodes = nodes
        self._speed = speed
        self._going_on: set[asyncio.Task[None]] = set()
        self._without_gpu = 0
        nodes.on_change(self._node_changed)

    # --- Pods ---------------------------------------------------------------------------------------------------------

    def hang(self, namespace: str, name: str) -> None:
        """The pod's programs answer, but get nowhere."""
        for each in self._programs(namespace, name):
            each.hang()

    def unhang(self, namespace: str, name: str) -> None:
        """End of `hang`."""
        for each in self._programs(namespace, name):
            each.unhang()

    def out_of_memory(self, namespace: str, name: str) -> None:
        """The kernel kills the pod's programs."""
        for each in self._programs(namespace, name):
            each.crash(_EXIT_OUT_OF_MEMORY, _OUT_OF_MEMORY)

    def kill(self, namespace: str, name: str) -> None:
        """Somebody kills the pod's programs."""
        for each in self._programs(namespace, name):
            each.kill()

    def _programs(self, namespace: str, name: str) -> list[Server]:
        worker: PodWorker | None = self._kubelets.worker(namespace, name)
        if worker is None or not worker.lives:
            raise UsageError("nothing runs in this pod", where=f"{namespace}/{name}", how="GET /state lists the pods")
        return [each.program for each in worker.lives.values()]

    # --- Nodes --------------------------------------------------------------------------------------------------------

    def lose(self, node: str) -> None:
        """The machine stops without notice; the cluster finds out after a while."""
        self._known(node)
        self._kubelets.cut(node)
        self._begin(self._vanish(node))

    async def spot_notice(self, node: str) -> None:
        """The cloud wants the instance back in two minutes: Karpenter is told, then the machine stops.

        Without Karpenter's NodeClaim, its pods are evicted as a termination handler does it.
        """
        uid = self._known(node)["metadata"]["uid"]
        claim = await self._claim_of(node)
        if claim is not None:
            # All that Karpenter's interruption controller does; taint and drain follow from it.
            await self._client.insist("DELETE", f"{_NODE_CLAIMS}/{claim}")
        else:
            self._begin(self._drain(node))
        self._begin(self._end_notice(node, uid))

    async def no_gpu(self, node: str) -> None:
        """The node is there, but its device plugin registers no GPU; `next`: the next one with a GPU."""
        if node == NEXT:
            self._without_gpu += 1
            return
        self._known(node)
        await self._take_gpu(node)

    def _known(self, node: str) -> Body:
        machine = self._kubelets.machines.get(node)
        if machine is None:
            raise UsageError("no such node", where=node, how="GET /state lists the nodes")
        return machine.node

    def _node_changed(self, change: Change, node: Body) -> None:
        if change is Change.ADDED and self._without_gpu and int(dig(node, "status", "capacity", GPU, default=0)):
            self._without_gpu -= 1
            self._begin(self._take_gpu(node["metadata"]["name"]))

    async def _take_gpu(self, node: str) -> None:
        status = {"capacity": {GPU: "0"}, "allocatable": {GPU: "0"}}
        path = path_of("v1", "nodes", name=node, part="status")
        await self._client.insist("PATCH", path, body={"status": status}, content_type=STRATEGIC_MERGE)

    async def _end_notice(self, node: str, uid: str) -> None:
        await asyncio.sleep(self._speed.real(NOTICE_SECONDS))
        machine = self._kubelets.machines.get(node)
        if machine is not None and machine.node["metadata"]["uid"] == uid and not machine.is_lost:
            self.lose(node)

    async def _vanish(self, node: str) -> None:
        """What the control plane does about a machine that is silent and, it then turns out, does not exist."""
        await asyncio.sleep(self._speed.real(SILENCE_SECONDS))
        for pod in self._kubelets.pods_on(node):
            if dig(pod, "status", "phase") not in TERMINAL:
                await self._mark_not_ready(pod)
        claim = await self._claim_of(node)
        if claim is not None:
            await self._client.insist("DELETE", f"{_NODE_CLAIMS}/{claim}")
        await self._remove(node)

    async def _mark_not_ready(self, pod: Body) -> None:
        """As the node lifecycle controller does: a silent node's pods get no more requests."""
        namespace, name = key_of(pod)
        condition = {
            "type": "Ready",
            "status": "False",
            "lastTransitionTime": lifecycle.timestamp(self._kubelets.now()),
        }
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [condition]}}
        path = path_of("v1", "pods", namespace, name, "status")
        await self._try("PATCH", path, body, STRATEGIC_MERGE)

    async def _remove(self, node: str) -> None:
        """Remove a node's object. There is nothing to drain: so Karpenter, too, takes back its finalizer."""
        path = path_of("v1", "nodes", name=node)
        body = await self._client.find(path)
        if body is None:
            return
        await self._try("DELETE", path, {}, JSON)
        left = [each for each in dig(body, "metadata", "finalizers", default=()) if each != _TERMINATION_FINALIZER]
        await self._try("PATCH", path, {"metadata": {"finalizers": left}}, MERGE)

    async def _drain(self, node: str) -> None:
        """Cordon the node and evict its pods, those of DaemonSets excepted, until none is left or it is gone."""
        await self._try("PATCH", path_of("v1", "nodes", name=node), {"spec": {"unschedulable": True}}, MERGE)
        while node in self._kubelets.machines:
            left = [each for each in self._kubelets.pods_on(node) if _is_evictable(each)]
            if not left:
                return
            for pod in left:
                await self._evict(pod)
            await asyncio.sleep(self._speed.real(_EVICTION_SECONDS))

    async def _evict(self, pod: Body) -> None:
        namespace, name = key_of(pod)
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
        }
        try:
            await self._client.request("POST", path_of("v1", "pods", namespace, name, "eviction"), body=body)
        except ApiError as error:
            if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                log.info("%s/%s is not evicted: %s", namespace, name, error)

    async def _claim_of(self, node: str) -> str | None:
        """Name of the NodeClaim that a node comes from."""
        claims = await self._client.find(_NODE_CLAIMS)
        for each in (claims or {}).get("items") or ():
            if dig(each, "status", "nodeName") == node:
                return str(each["metadata"]["name"])
        return None

    async def _try(self, method: str, path: str, body: Body, content_type: str) -> None:
        """Write to an object that may be gone meanwhile."""
        try:
            await self._client.insist(method, path, body=body, content_type=content_type)
        except ApiError as error:
            if error.status not in GONE:
                raise

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._going_on.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._going_on.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a fault did not come about", exc_info=error)

    async def stop(self) -> None:
        """Let what goes on be."""
        for each in list(self._going_on):
            each.cancel()
        await asyncio.gather(*self._going_on, return_exceptions=True)


def _is_evictable(pod: Body) -> bool:
    owners = {each["kind"] for each in dig(pod, "metadata", "ownerReferences", default=())}
    gone = dig(pod, "status", "phase") in TERMINAL or "deletionTimestamp" in pod["metadata"]
    return "DaemonSet" not in owners and not gone
