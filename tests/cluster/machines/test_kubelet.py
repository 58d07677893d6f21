"""Kubelets of several nodes and the faults of machines, in virtual time with an API server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import pytest

from chartproof.cluster.addons import karpenter
from chartproof.cluster.api import Api
from chartproof.cluster.machines.faults import Faults
from chartproof.cluster.machines.kubelet import ORPHAN_SECONDS, Kubelets
from chartproof.cluster.machines.watch import Change, Client, Watch
from chartproof.cluster.speed import Speed
from chartproof.errors import UsageError
from tests.cluster.machines import virtual
from tests.cluster.machines.doubles import NODE, FakeApi, FakeEngine, FakeNetwork, container, deleted, pod, wall

Body = Mapping[str, Any]


class World:
    """Nodes and pods as watches tell of them, and what the kubelets write."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.network = FakeNetwork()
        self.engines: list[FakeEngine] = []
        client = cast("Client", self.api)
        self.pods = Watch(client, "v1", "pods")
        self.nodes = Watch(client, "v1", "nodes")
        self.nodes.synced.set()
        real = {("monitoring", "prometheus-0"): {9090: ("127.0.0.1", 4711)}}
        self.kubelets = Kubelets(
            client, self.pods, self.nodes, self.network, Speed(1), self.program, real=real, now=wall
        )
        self.faults = Faults(cast("Api", None), client, self.kubelets, Speed(1))

    def program(self, *_around: Any) -> FakeEngine:
        self.engines.append(FakeEngine())
        return self.engines[-1]

    def tell(self, watch: Watch, change: Change, body: Body) -> None:
        watch._apply(change, body)


def play(story: Callable[[World], Awaitable[None]]) -> World:
    async def told() -> World:
        world = World()
        running = asyncio.create_task(world.kubelets.run())
        await asyncio.sleep(0)
        try:
            await story(world)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return world

    return virtual.run(told())


def test_pods_are_taken_whichever_of_pod_and_node_is_seen_first() -> None:
    async def story(world: World) -> None:
        world.tell(world.pods, Change.ADDED, pod(container(), uid="a"))
        await asyncio.sleep(1)
        assert world.kubelets.workers == {}
        world.tell(world.nodes, Change.ADDED, NODE)
        world.tell(
            world.pods,
            Change.ADDED,
            {**pod(container(), uid="b"), "metadata": {"name": "b", "namespace": "llm", "uid": "b"}},
        )
        await asyncio.sleep(1)
        assert set(world.kubelets.workers) == {"a", "b"}
        await asyncio.sleep(ORPHAN_SECONDS)
        assert world.api.deletions == []

    play(story)


def test_every_pod_has_an_address_of_its_own() -> None:
    async def story(world: World) -> None:
        world.tell(world.nodes, Change.ADDED, NODE)
        for number in range(300):
            body = pod(container(), uid=str(number))
            body["metadata"]["name"] = f"pod-{number}"
            world.tell(world.pods, Change.ADDED, body)
        await asyncio.sleep(1)
        found = {each.record.address for each in world.kubelets.workers.values()}
        assert len(found) == 300
        assert not any(each.endswith((".0", ".255")) for each in found)

    play(story)


def test_an_unscheduled_pod_is_nobodys() -> None:
    async def story(world: World) -> None:
        body = pod(container())
        del body["spec"]["nodeName"]
        world.tell(world.pods, Change.ADDED, body)
        await asyncio.sleep(100)
        assert world.api.statuses == []
        assert world.api.deletions == []

    play(story)


def test_pods_of_a_node_that_is_gone_fail_and_are_removed_after_the_quarantine() -> None:
    async def story(world: World) -> None:
        world.tell(world.nodes, Change.ADDED, NODE)
        world.tell(world.pods, Change.ADDED, pod(container()))
        await asyncio.sleep(5)
        world.tell(world.nodes, Change.DELETED, NODE)
        await asyncio.sleep(1)
        assert world.engines[0].ended_by == "SIGKILL"
        assert world.api.deletions == []
        await asyncio.sleep(ORPHAN_SECONDS)
        assert world.api.deletions == [5 + ORPHAN_SECONDS]
        last = world.api.statuses[-1].status
        assert last["phase"] == "Failed"
        assert last["conditions"][0]["reason"] == "DeletionByPodGC"

    play(story)


def test_no_new_pod_gets_the_address_of_one_from_before_this_process() -> None:
    async def story(world: World) -> None:
        new, old = pod(container(), uid="new"), pod(container(), uid="old")
        old["metadata"]["name"] = "llama-1"
        old["status"]["podIP"] = "10.64.0.1"
        world.tell(world.nodes, Change.ADDED, NODE)
        world.tell(world.pods, Change.ADDED, new)
        world.tell(world.pods, Change.ADDED, old)
        await asyncio.sleep(1)
        addresses = {uid: each.record.address for uid, each in world.kubelets.workers.items()}
        assert addresses == {"new": "10.64.0.2", "old": "10.64.0.1"}

    play(story)


def test_a_pod_that_had_ended_before_this_process_keeps_its_status_and_goes_when_it_is_deleted() -> None:
    async def story(world: World) -> None:
        body = pod(container(), restartPolicy="Never")
        body["status"]["phase"] = "Succeeded"
        world.tell(world.nodes, Change.ADDED, NODE)
        world.tell(world.pods, Change.ADDED, body)
        await asyncio.sleep(5)
        world.tell(world.pods, Change.MODIFIED, deleted(body))
        await asyncio.sleep(5)
        assert world.api.statuses == []
        assert world.api.deletions == [5]
        assert world.engines == []

    play(story)


def test_another_machine_of_the_same_name_begins_with_its_pods_anew() -> None:
    async def story(world: World) -> None:
        world.tell(world.nodes, Change.ADDED, NODE)
        world.tell(world.pods, Change.ADDED, pod(container()))
        await asyncio.sleep(5)
        world.tell(world.nodes, Change.MODIFIED, {**NODE, "metadata": {**NODE["metadata"], "uid": "node-2"}})
        await asyncio.sleep(5)
        assert [each.ended_by for each in world.engines] == ["SIGKILL", ""]

    play(story)


def test_a_pod_that_stands_for_a_real_program_leads_to_it() -> None:
    async def story(world: World) -> None:
        world.tell(world.nodes, Change.ADDED, NODE)
        body = pod(container())
        body["metadata"] |= {"name": "prometheus-0", "namespace": "monitoring"}
        world.tell(world.pods, Change.ADDED, body)
        await asyncio.sleep(1)
        address = next(iter(world.kubelets.workers.values())).record.address
        assert world.network.aliases == {(address, 9090): ("127.0.0.1", 4711)}
        world.tell(world.pods, Change.DELETED, body)
        await asyncio.sleep(5)
        assert world.network.aliases == {}

    play(story)


def test_a_lost_machine_is_missed_after_a_while_and_removed_with_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[float] = []

    async def story(world: World) -> None:
        # In virtual time no thread may be waited for.
        monkeypatch.setattr(asyncio, "to_thread", _at_once)
        monkeypatch.setattr(karpenter, "lose", lambda _api, _node: lost.append(virtual.now()))
        world.tell(world.nodes, Change.ADDED, NODE)
        world.tell(world.pods, Change.ADDED, pod(container()))
        await asyncio.sleep(5)
        written = len(world.api.statuses)
        world.faults.lose("gpu-1")
        await asyncio.sleep(40)
        assert world.engines[0].ended_by == "SIGKILL"
        assert world.network.servers == {}
        assert len(world.api.statuses) == written
        await asyncio.sleep(11)
        assert [each["type"] for each in world.api.statuses[-1].status["conditions"]] == ["Ready"]
        assert not world.api.statuses[-1].ready
        assert lost == [5 + karpenter.LOST_SECONDS]

    play(story)


def test_faults_of_pods_reach_their_programs() -> None:
    async def story(world: World) -> None:
        world.tell(world.nodes, Change.ADDED, NODE)
        world.tell(world.pods, Change.ADDED, pod(container()))
        await asyncio.sleep(1)
        world.faults.hang("llm", "llama-0")
        assert [each.hangs for each in world.engines] == [True]
        world.faults.unhang("llm", "llama-0")
        assert [each.hangs for each in world.engines] == [False]
        world.faults.out_of_memory("llm", "llama-0")
        await asyncio.sleep(1)
        status = world.api.statuses[-1].status["containerStatuses"][0]
        assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
        world.faults.kill("llm", "llama-0")
        assert world.engines[1].ended_by == "SIGKILL"
        with pytest.raises(UsageError, match="nothing runs in this pod"):
            world.faults.kill("llm", "another")
        with pytest.raises(UsageError, match="there is no such node"):
            world.faults.lose("another")

    play(story)


async def _at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)
