"""Pods that are one engine: they meet, load, and cannot go on without each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from chartproof.catalog import catalog
from chartproof.cluster.machines.endpoints import Endpoint, NoSuchHostError
from chartproof.cluster.machines.engine_server import EngineServer
from chartproof.cluster.machines.gpus import GpuRegistry
from chartproof.cluster.machines.groups import (
    PATIENCE_SECONDS,
    STUCK_SECONDS,
    Group,
    Groups,
    Place,
    Seat,
    Worker,
    waits_for_leader,
)
from chartproof.cluster.machines.programs import PodContext, server_for
from chartproof.cluster.machines.server import EXIT_ERROR
from chartproof.release import Document, Release
from tests.cluster.machines import engines, virtual

HOST = "glm-0.glm-0.llm"
ADDRESS = "10.64.0.7"
LOAD = engines.LOAD_SECONDS


class Names:
    """The pod network's names; the leader's is there from the beginning."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {HOST: ADDRESS}

    def resolve(self, host: str, port: int) -> Endpoint | None:
        if host not in self.known:
            raise NoSuchHostError(host)
        return Endpoint(self.known[host], port)


class Pair:
    """A group of two on a virtual clock: durations are simulated seconds."""

    def __init__(self) -> None:
        self.names = Names()
        self.group = Group(2)
        self.held: list[Worker] = []

    def leader(self) -> EngineServer:
        made = EngineServer(engines.settings(), engines.SPEED, seat=self._seat(0, ADDRESS))
        made.start()
        return made

    def worker(self) -> Worker:
        def occupy(worker: Worker) -> Callable[[], None]:
            self.held.append(worker)
            return lambda: self.held.remove(worker)

        made = Worker(self._seat(1, "10.64.0.8"), engines.SPEED, occupy)
        made.start()
        return made

    def _seat(self, index: int, address: str) -> Seat:
        return Seat(self.group, index, address, HOST, PATIENCE_SECONDS, self.names.resolve)


async def after(seconds: float) -> None:
    """Wait for so many simulated seconds, and for what happens at their end."""
    await asyncio.sleep(engines.SPEED.real(seconds) + 0.06)


def played(test: Callable[[Pair], Awaitable[None]]) -> None:
    async def begin() -> None:
        await test(Pair())

    virtual.run(begin())


def test_the_leader_serves_once_the_worker_is_there_and_both_have_loaded() -> None:
    async def story(pair: Pair) -> None:
        leader = pair.leader()
        await after(5 * LOAD)
        assert (leader.listening, leader.memory_share) == (False, 0)
        pair.worker()
        await after(LOAD / 2)
        assert not leader.listening
        await after(LOAD / 2)
        assert leader.listening

    played(story)


def test_a_worker_that_was_told_another_address_never_meets_its_leader() -> None:
    async def story(pair: Pair) -> None:
        pair.names.known = {HOST: "10.64.0.99"}
        leader, worker = pair.leader(), pair.worker()
        await after(PATIENCE_SECONDS - 10)
        assert not worker.exit.done()
        assert not leader.exit.done()
        await after(11)
        assert (leader.exit.result(), worker.exit.result()) == (EXIT_ERROR, EXIT_ERROR)

    played(story)


def test_a_name_that_does_not_exist_yet_is_asked_for_again() -> None:
    async def story(pair: Pair) -> None:
        pair.names.known = {}
        leader, worker = pair.leader(), pair.worker()
        await after(30)
        early = worker.has_met
        pair.names.known = {HOST: ADDRESS}
        await after(LOAD + 1)
        assert (early, worker.has_met) == (False, True)
        assert leader.listening

    played(story)


def test_without_its_worker_the_leader_looks_well_and_gets_nowhere_and_dies_in_the_end() -> None:
    async def story(pair: Pair) -> None:
        leader, worker = pair.leader(), pair.worker()
        await after(LOAD + 1)
        worker.kill()
        assert pair.held == []
        pair.worker()  # started again, it is no part of what was begun without it
        await after(STUCK_SECONDS - 10)
        assert leader.listening
        assert leader._played is not None
        assert leader._played.hung
        await after(30)
        assert leader.exit.done()

    played(story)


def test_a_worker_that_has_met_its_leader_does_not_notice_its_end() -> None:
    async def story(pair: Pair) -> None:
        leader, worker = pair.leader(), pair.worker()
        await after(LOAD + 1)
        leader.kill()
        assert worker.seat.group.leader_gone.is_set()
        await after(STUCK_SECONDS)
        assert not worker.exit.done()
        again = pair.leader()
        await after(LOAD + 1)
        assert not again.listening

    played(story)


def test_a_group_that_loses_one_before_it_serves_ends() -> None:
    async def story(pair: Pair) -> None:
        leader, worker = pair.leader(), pair.worker()
        await after(LOAD / 2)
        worker.kill()
        assert leader.exit.result() == EXIT_ERROR

    played(story)


def test_a_leader_that_was_left_is_still_the_one_that_workers_stay_for() -> None:
    async def story(pair: Pair) -> None:
        leader, worker = pair.leader(), pair.worker()
        await after(LOAD + 1)
        worker.kill()
        assert not pair.group.leader_gone.is_set()
        leader.kill()
        assert pair.group.leader_gone.is_set()

    played(story)


# --- Of pods ----------------------------------------------------------------------------------------------------------

INSTANCE = "g6e.48xlarge"
ARGUMENTS = [
    *("serve", "meta-llama/Llama-3.3-70B-Instruct", "--tensor-parallel-size", "4", "--pipeline-parallel-size", "2"),
    *("--nnodes", "$(LWS_GROUP_SIZE)", "--node-rank", "$(LWS_WORKER_INDEX)", "--master-addr", "$(LWS_LEADER_ADDRESS)"),
    *("--distributed-timeout-seconds", "900", "--max-model-len", "8192"),
]


def template(*more: str) -> dict[str, Any]:
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.33.0",
        "command": ["vllm"],
        "args": [*ARGUMENTS, *more],
        "resources": {"limits": {"nvidia.com/gpu": 4}},
    }
    selector = {"node.kubernetes.io/instance-type": INSTANCE}
    return {"metadata": {"labels": {"app": "glm"}}, "spec": {"nodeSelector": selector, "containers": [container]}}


def group_of_two() -> Document:
    both = {"leaderTemplate": template(), "workerTemplate": template("--headless")}
    return Document(
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": "glm", "namespace": "llm"},
            "spec": {"leaderWorkerTemplate": {"size": 2, **both}},
        }
    )


def pod(document: Document, index: int, *, group: int = 0) -> dict[str, Any]:
    """What controller and webhook make of the templates."""
    name = "workerTemplate" if index else "leaderTemplate"
    made = template(*(("--headless",) if name == "workerTemplate" else ()))
    prefix = "leaderworkerset.sigs.k8s.io"
    labels = {f"{prefix}/name": document.name, f"{prefix}/group-index": str(group)}
    environment = {"LWS_LEADER_ADDRESS": HOST, "LWS_GROUP_SIZE": "2", "LWS_WORKER_INDEX": str(index)}
    made["spec"]["containers"][0]["env"] = [{"name": key, "value": value} for key, value in environment.items()]
    metadata = {
        "name": f"glm-{group}" + (f"-{index}" if index else ""),
        "namespace": "llm",
        "labels": {**labels, f"{prefix}/worker-index": str(index)},
    }
    return {"metadata": metadata, "spec": made["spec"], "status": {"podIP": f"10.64.0.{7 + index}"}}


def programs(**changes: Any) -> tuple[Any, Any]:
    """The programs of a leader's pod and of its worker's."""
    release = Release("glm", (group_of_two(),), "llm")
    node: Mapping[str, Any] = {"metadata": {"name": "gpu-1", "labels": dict(catalog().instances[INSTANCE].labels)}}

    async def make() -> tuple[Any, Any]:
        names = Names()
        known: dict[str, Any] = {"groups": Groups(names.resolve), **changes}
        context = PodContext(engines.SPEED, node, release, GpuRegistry(engines.SPEED), **known)
        made = [pod(release.documents[0], index) for index in (0, 1)]
        leader, worker = [server_for(each, each["spec"]["containers"][0], context) for each in made]
        return leader, worker

    return virtual.run(make())


def test_a_leader_and_its_worker_share_one_group_and_know_their_places() -> None:
    leader, worker = programs()
    assert isinstance(leader, EngineServer)
    assert isinstance(worker, Worker)
    assert leader._seat is not None
    assert leader._seat.group is worker.seat.group
    assert (leader._seat.index, worker.seat.index, worker.seat.group.size) == (0, 1, 2)
    assert (worker.seat.leader_host, worker.seat.patience) == (HOST, 900)
    assert leader._seat.address == ADDRESS
    assert (leader.ports, worker.ports) == ((8000,), ())


def test_a_worker_holds_the_gpus_of_its_node_and_works_as_its_leader_does() -> None:
    release = Release("glm", (group_of_two(),), "llm")
    labels = dict(catalog().instances[INSTANCE].labels)

    async def story() -> None:
        names, gpus = Names(), GpuRegistry(engines.SPEED)
        groups = Groups(names.resolve)
        servers = []
        for index in (0, 1):
            node = {"metadata": {"name": f"gpu-{index}", "labels": labels}}
            body = pod(release.documents[0], index)
            context = PodContext(engines.SPEED, node, release, gpus, groups=groups)
            servers.append(server_for(body, body["spec"]["containers"][0], context))
        leader, worker = servers
        assert isinstance(leader, EngineServer)
        assert worker is not None
        worker.start()
        leader.start()
        await after(leader.settings.load_seconds + 1)
        memory = [each.use.memory() for each in gpus.devices("gpu-1", labels) if each.use is not None]
        assert memory == [leader.memory_share] * 4
        assert leader.memory_share > 0.8
        worker.kill()
        assert all(each.use is None for each in gpus.devices("gpu-1", labels))
        leader.kill()

    virtual.run(story())


def test_an_engine_without_other_nodes_is_no_group() -> None:
    release = group_of_two()
    release.body["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"]["containers"][0]["args"] = ["serve", "m"]
    groups = Groups(Names().resolve)
    from chartproof.workload import engine_containers  # noqa: PLC0415

    found = {each.pod.path[-1]: each for each in engine_containers(release)}
    place = Place("llm", "glm", "0", 0)
    assert groups.seat(place, found["leaderTemplate"], ADDRESS) is None


@pytest.mark.parametrize("labels", [{}, {"leaderworkerset.sigs.k8s.io/worker-index": "first"}])
def test_a_pod_of_no_group_has_no_place(labels: dict[str, str]) -> None:
    assert Place.of({"metadata": {"namespace": "llm", "labels": labels}}) is None


def test_a_hook_that_asks_for_the_leader_waits_for_it() -> None:
    asking = {"exec": {"command": ["python3", "-c", 'connect(os.environ["LWS_LEADER_ADDRESS"])']}}
    assert waits_for_leader(asking)
    assert not waits_for_leader({"exec": {"command": ["sleep", "10"]}})
    assert not waits_for_leader(None)
