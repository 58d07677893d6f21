"""What can be done to pods and nodes on purpose, as it happens in a cloud; times are simulated.

What Karpenter and the cloud's controllers do about a machine is `addons.karpenter`'s; here is what the machine does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from chartproof.cluster.addons import karpenter
from chartproof.cluster.api import Api, ApiError
from chartproof.cluster.machines import lifecycle
from chartproof.cluster.machines.kubelet import Kubelets
from chartproof.cluster.machines.pod_worker import GONE, TERMINAL
from chartproof.cluster.machines.server import EXIT_KILLED, Server
from chartproof.cluster.machines.watch import STRATEGIC_MERGE, Client, key_of, path_of
from chartproof.cluster.speed import Speed
from chartproof.errors import UsageError
from chartproof.release import dig

Body = Mapping[str, Any]

log = logging.getLogger(__name__)


class Faults:
    """Faults of one cluster. What takes time goes on after the call has returned."""

    def __init__(self, api: Api, client: Client, kubelets: Kubelets, speed: Speed) -> None:
        self._api = api
        self._client = client
        self._kubelets = kubelets
        self._speed = speed
        self._going_on: set[asyncio.Task[None]] = set()

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
            each.crash(EXIT_KILLED, "OOMKilled")

    def kill(self, namespace: str, name: str) -> None:
        """Somebody kills the pod's programs."""
        for each in self._programs(namespace, name):
            each.kill()

    def _programs(self, namespace: str, name: str) -> list[Server]:
        worker = self._kubelets.worker(namespace, name)
        if worker is None or not worker.lives:
            raise UsageError("nothing runs in this pod", where=f"{namespace}/{name}", how="GET /state lists the pods")
        return [each.program for each in worker.lives.values()]

    # --- Nodes --------------------------------------------------------------------------------------------------------

    def lose(self, node: str) -> None:
        """The machine stops without notice; the cluster finds out after a while."""
        if node not in self._kubelets.machines:
            raise UsageError("there is no such node", where=f"Node/{node}", how="GET /state lists the nodes")
        self._kubelets.cut(node)
        self._begin(self._be_missed(node))

    async def spot_notice(self, node: str) -> None:
        """The cloud wants the machine back: Karpenter is told, and two minutes later the machine stops."""
        real_seconds = await asyncio.to_thread(karpenter.spot_notice, self._api, node, self._speed)
        self._begin(self._end_notice(self._kubelets.machines[node].node, real_seconds))

    async def without_gpu(self, node: str) -> None:
        """The node offers no GPU any more."""
        await asyncio.to_thread(karpenter.without_gpu, self._api, node)

    async def withhold_gpus(self, pool: str) -> None:
        """Nodes of this NodePool register without their GPUs from now on."""
        await asyncio.to_thread(karpenter.withhold_gpus, self._api, pool)

    async def return_gpus(self, pool: str) -> None:
        """End of `withhold_gpus`, for the next nodes."""
        await asyncio.to_thread(karpenter.return_gpus, self._api, pool)

    async def _end_notice(self, node: Body, real_seconds: float) -> None:
        await asyncio.sleep(real_seconds)
        machine = self._kubelets.machines.get(node["metadata"]["name"])
        # Karpenter has often drained and removed it by now.
        if machine is not None and machine.node["metadata"]["uid"] == node["metadata"]["uid"] and not machine.is_lost:
            self.lose(machine.name)

    async def _be_missed(self, node: str) -> None:
        """What the control plane does about a silent machine: its pods get no requests, then it is removed."""
        await asyncio.sleep(self._speed.real(karpenter.LOST_SECONDS))
        for pod in self._kubelets.pods_on(node):
            if dig(pod, "status", "phase") not in TERMINAL:
                await self._mark_not_ready(pod)
        await asyncio.to_thread(karpenter.lose, self._api, node)

    async def _mark_not_ready(self, pod: Body) -> None:
        """As the node lifecycle controller does with the pods of a node that is not ready."""
        namespace, name = key_of(pod)
        now = lifecycle.timestamp(self._kubelets.now())
        condition = {"type": "Ready", "status": "False", "lastTransitionTime": now}
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": [condition]}}
        try:
            path = path_of("v1", "pods", namespace, name, "status")
            await self._client.insist("PATCH", path, body=body, content_type=STRATEGIC_MERGE)
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
