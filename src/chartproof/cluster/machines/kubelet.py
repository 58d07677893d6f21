"""Plays the kubelet of every node: takes pods from their binding to their removal.

Each pod has a `PodWorker`. A node whose object is deleted takes its pods' programs along; the pods' objects are
removed as the pod garbage collector does it, in simulated time. To the pods, a second process of this kind (after the
first one died) is as if all machines had been restarted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from chartproof.cluster.api import ApiError
from chartproof.cluster.machines import lifecycle
from chartproof.cluster.machines.events import Recorder
from chartproof.cluster.machines.machine import Addresses, Machine
from chartproof.cluster.machines.pod_worker import GONE, TERMINAL, PodNetwork, PodWorker, ProgramFor, Services
from chartproof.cluster.machines.watch import STRATEGIC_MERGE, Change, Client, Key, Watch, key_of, path_of, pauses
from chartproof.cluster.speed import Speed
from chartproof.release import dig

Body = Mapping[str, Any]

#: Seconds that pods of a node that does not exist are left alone: quarantine of the pod garbage collector and half
#: its period (`pkg/controller/podgc`). Played here, because the real one's seconds cannot be shortened.
ORPHAN_SECONDS = 50.0

log = logging.getLogger(__name__)


class Kubelets:
    """All kubelets of a cluster, and the pod garbage collector's part for nodes that are gone."""

    def __init__(
        self,
        client: Client,
        pods: Watch,
        nodes: Watch,
        network: PodNetwork,
        speed: Speed,
        programs: ProgramFor,
        *,
        real: Mapping[Key, Mapping[int, tuple[str, int]]] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`pods` and `nodes` are run by somebody else; `now` is the wall clock, in which statuses are written.

        `real` has the pods that stand for real programs: see `Services`.
        """
        self.machines: dict[str, Machine] = {}
        self.workers: dict[str, PodWorker] = {}
        self._client = client
        self._pods = pods
        self._nodes = nodes
        self._speed = speed
        self._recorder = Recorder(client, speed, now)
        self.now = now
        self._services = Services(client, network, speed, programs, self._recorder, Addresses(), now, real or {})
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._orphaned: dict[str, asyncio.Task[None]] = {}
        self._has_begun = False

    async def run(self) -> None:
        """Serve until cancelled; then every program ends at once, as with the machines' power."""
        if not self._has_begun:
            self._has_begun = True
            self._nodes.on_change(self._node_changed)
            self._pods.on_change(self._pod_changed)
        try:
            await self._recorder.run()
        finally:
            await self._stop()

    def worker(self, namespace: str, name: str) -> PodWorker | None:
        """The worker of a pod of this name that is played now."""
        for each in self.workers.values():
            if key_of(each.pod) == (namespace, name):
                return each
        return None

    def pods_on(self, node: str) -> list[Body]:
        """The pods that are bound to a node, whether it exists or not."""
        return [each for each in self._pods.objects.values() if dig(each, "spec", "nodeName") == node]

    def cut(self, node: str) -> None:
        """The machine stops, now and without a word; its object does not know yet."""
        machine = self.machines[node]
        machine.is_lost = True
        machine.stop()
        for uid, worker in self.workers.items():
            if worker.machine is machine and uid in self._tasks:
                self._tasks.pop(uid).cancel()

    # --- Changes ------------------------------------------------------------------------------------------------------

    def _node_changed(self, change: Change, node: Body) -> None:
        name = node["metadata"]["name"]
        known = self.machines.get(name)
        if change is Change.DELETED:
            if known is not None:
                self.cut(name)
                del self.machines[name]
            self._quarantine(name)
        elif known is not None and known.node["metadata"]["uid"] == node["metadata"]["uid"]:
            known.node = node
        else:
            if known is not None:
                # Another machine of the same name, as after a restart that was missed: it begins with its pods anew.
                self.cut(name)
                self.workers = {uid: each for uid, each in self.workers.items() if each.machine is not known}
            self.machines[name] = Machine(node)
            for pod in self.pods_on(name):
                self._pod_changed(Change.ADDED, pod)

    def _pod_changed(self, change: Change, pod: Body) -> None:
        uid, node = pod["metadata"]["uid"], dig(pod, "spec", "nodeName")
        worker = self.workers.get(uid)
        address = dig(pod, "status", "podIP")
        if worker is None and address and change is not Change.DELETED:
            # From before this process began: no new pod may get it meanwhile.
            self._services.addresses.keep(address)
        if change is Change.DELETED:
            self._recorder.forget(uid)
            if worker is not None:
                worker.remove()
                del self.workers[uid]
        elif worker is not None:
            worker.update(pod)
        elif node in self.machines and not self.machines[node].is_lost:
            self._admit(pod, self.machines[node])
        elif node is not None and node not in self.machines:
            self._quarantine(node)

    def _admit(self, pod: Body, machine: Machine) -> None:
        """Begin to play a pod."""
        for key in ("initContainerStatuses", "containerStatuses"):
            # What ran before a restart of this process was pulled before.
            machine.images.update(
                each["image"] for each in dig(pod, "status", key, default=()) if each.get("containerID")
            )
        uid = pod["metadata"]["uid"]
        self.workers[uid] = PodWorker(pod, machine, self._services)
        task = self._tasks[uid] = asyncio.create_task(self._care_for(uid))
        task.add_done_callback(lambda done: self._tasks.pop(uid, None) if self._tasks.get(uid) is done else None)

    async def _care_for(self, uid: str) -> None:
        """Run a pod's worker; one that fails on a mistake of ours is said and begun again."""
        worker = self.workers[uid]
        for pause in pauses():
            try:
                return await worker.run()
            except Exception:
                log.exception("pod %s", "/".join(key_of(worker.pod)))
            await asyncio.sleep(pause)
            if uid not in self.workers:
                return None
            worker = self.workers[uid] = PodWorker(worker.pod, worker.machine, self._services)
        return None

    # --- Orphans ------------------------------------------------------------------------------------------------------

    def _quarantine(self, node: str) -> None:
        """Pods of a node that does not exist are removed, unless it appears after all."""
        if node not in self._orphaned:
            self._orphaned[node] = asyncio.create_task(self._collect(node))

    async def _collect(self, node: str) -> None:
        try:
            await self._nodes.synced.wait()
            await asyncio.sleep(self._speed.real(ORPHAN_SECONDS))
            if node not in self.machines:
                for pod in self.pods_on(node):
                    await self._remove_orphan(pod)
        finally:
            del self._orphaned[node]

    async def _remove_orphan(self, pod: Body) -> None:
        namespace, name = key_of(pod)
        uid = pod["metadata"]["uid"]
        disrupted = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
            "lastTransitionTime": lifecycle.timestamp(self.now()),
        }
        try:
            if dig(pod, "status", "phase") not in TERMINAL:
                body = {"metadata": {"uid": uid}, "status": {"phase": "Failed", "conditions": [disrupted]}}
                path = path_of("v1", "pods", namespace, name, "status")
                await self._client.insist("PATCH", path, body=body, content_type=STRATEGIC_MERGE)
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
            await self._client.insist("DELETE", path_of("v1", "pods", namespace, name), body=options)
        except ApiError as error:
            if error.status not in GONE:
                log.warning("%s/%s: %s", namespace, name, error)

    async def _stop(self) -> None:
        tasks = [*self._tasks.values(), *self._orphaned.values()]
        for each in tasks:
            each.cancel()
        for machine in self.machines.values():
            machine.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.workers.clear()
