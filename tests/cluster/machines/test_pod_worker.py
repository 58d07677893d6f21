"""Lives of pods in virtual time: what happens when, and what the API server is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, cast

import pytest

from chartproof.cluster.machines.endpoints import Endpoint
from chartproof.cluster.machines.events import Recorder
from chartproof.cluster.machines.groups import Group, Seat, Worker
from chartproof.cluster.machines.machine import Addresses, Machine
from chartproof.cluster.machines.pod_worker import PodWorker, Services
from chartproof.cluster.machines.watch import Client
from chartproof.cluster.speed import Speed
from chartproof.errors import ClusterError
from chartproof.release import dig
from tests.cluster.machines import virtual
from tests.cluster.machines.doubles import (
    NODE,
    FakeApi,
    FakeEngine,
    FakeNetwork,
    container,
    deleted,
    pod,
    wall,
)

Body = Mapping[str, Any]

HEALTH = {"httpGet": {"path": "/health", "port": "http"}}


@dataclass
class Stage:
    """A node with one pod on it."""

    body: Body
    speed: float = 1.0
    engines: list[FakeEngine] = field(default_factory=list)
    program: Worker | None = None
    api: FakeApi = field(default_factory=FakeApi)
    network: FakeNetwork = field(default_factory=FakeNetwork)
    addresses: Addresses = field(default_factory=Addresses)
    machine: Machine = field(default_factory=lambda: Machine(NODE))
    pull_seconds: float = 0
    started: int = 0

    def begin(self) -> None:
        client, speed = cast("Client", self.api), Speed(self.speed)
        if self.pull_seconds:
            self.pull = asyncio.create_task(self.machine.pull("vllm:1", self.pull_seconds))
        recorder = Recorder(client, speed, wall)
        services = Services(client, self.network, speed, self._program, recorder, self.addresses, wall)
        self.worker = PodWorker(self.body, self.machine, services)
        self.tasks = [asyncio.create_task(self.worker.run()), asyncio.create_task(recorder.run())]

    def _program(self, _pod: Body, which: Body, *_more: Any) -> FakeEngine | Worker | None:
        if which["name"] != "vllm" or not self.engines:
            return self.program
        self.started += 1
        return self.engines[min(self.started, len(self.engines)) - 1]

    async def end(self) -> None:
        for each in self.tasks:
            each.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def delete(self, grace: float = 30) -> None:
        self.body = deleted(self.body, grace)
        self.worker.update(self.body)

    async def gone(self) -> float:
        """Wait until the worker has removed the pod; when that was."""
        await self.tasks[0]
        return self.api.deletions[-1]

    def status(self, name: str = "vllm") -> Body:
        """The container's status as it was written last."""
        last = self.api.statuses[-1].status
        known = [*last["containerStatuses"], *last.get("initContainerStatuses", ())]
        return next(each for each in known if each["name"] == name)


def play(stage: Stage, story: Callable[[Stage], Awaitable[None]]) -> Stage:
    """Begin, follow the story, and end; the stage to look at."""

    async def told() -> None:
        stage.begin()
        try:
            await story(stage)
        finally:
            await stage.end()

    virtual.run(told())
    return stage


def lasting(seconds: float) -> Callable[[Stage], Awaitable[None]]:
    async def wait(_stage: Stage) -> None:
        await asyncio.sleep(seconds)

    return wait


def test_a_pod_without_an_engine_is_ready_at_once() -> None:
    stage = play(Stage(pod(container("nginx", readinessProbe=HEALTH))), lasting(1))
    assert stage.api.first("Running", ready=True) < 0.1
    assert stage.api.reasons() == ["Pulling", "Pulled", "Created", "Started"]
    assert stage.api.statuses[-1].status["podIP"].startswith("10.64.")
    assert stage.api.statuses[-1].status["hostIP"] == "10.65.0.1"


def test_an_engine_is_ready_once_its_startup_probe_and_then_its_readiness_probe_pass() -> None:
    body = pod(
        container(
            startupProbe={**HEALTH, "periodSeconds": 10, "failureThreshold": 60},
            readinessProbe={**HEALTH, "periodSeconds": 5},
        )
    )
    stage = play(Stage(body, engines=[FakeEngine(load=34)]), lasting(100))
    assert stage.api.first("Running") < 0.1
    assert stage.api.first(ready=True) == pytest.approx(40, abs=0.1)
    assert stage.engines[0].asked[0] == f"http://{stage.worker.record.address}:8000/health"
    refused = [message for _, reason, message in stage.api.events if reason == "Unhealthy"]
    assert refused
    assert refused[0].startswith("Startup probe failed: Get ")
    assert refused[0].endswith("connect: connection refused")
    assert stage.status()["started"] is True


def test_at_a_higher_speed_everything_takes_a_fraction_of_the_time() -> None:
    body = pod(container(startupProbe={**HEALTH, "periodSeconds": 30}, readinessProbe=HEALTH))
    stage = play(Stage(body, speed=15, engines=[FakeEngine(load=1.0)]), lasting(10))
    assert stage.api.first(ready=True) == pytest.approx(2, abs=0.1)


def test_a_startup_probe_that_never_passes_ends_the_container_which_is_started_again() -> None:
    body = pod(container(startupProbe={**HEALTH, "periodSeconds": 10, "failureThreshold": 3}))
    stage = play(Stage(body, engines=[FakeEngine(load=1000), FakeEngine(load=1000)]), lasting(40))
    assert stage.engines[0].ended_by == "SIGTERM"
    assert stage.started == 2
    status = stage.status()
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 143
    assert status["lastState"]["terminated"]["reason"] == "Error"
    killed = [(round(at), message) for at, reason, message in stage.api.events if reason == "Killing"]
    assert killed == [(30, "Container vllm failed startup probe, will be restarted")]


def test_a_failing_liveness_probe_restarts_the_container_after_its_threshold() -> None:
    body = pod(container(livenessProbe={**HEALTH, "periodSeconds": 10, "failureThreshold": 3}, readinessProbe=HEALTH))
    engines = [FakeEngine(), FakeEngine()]

    async def break_it(_stage: Stage) -> None:
        await asyncio.sleep(25)
        engines[0].status = 500
        await asyncio.sleep(60)

    stage = play(Stage(body, engines=engines), break_it)
    assert stage.started == 2
    messages = {message: at for at, _, message in stage.api.events}
    assert messages["Container vllm failed liveness probe, will be restarted"] == pytest.approx(50, abs=0.1)
    assert "Liveness probe failed: HTTP probe failed with statuscode: 500" in messages
    assert stage.status()["restartCount"] == 1
    assert stage.api.statuses[-1].ready


def test_a_hung_program_fails_its_probe_by_timeout_but_not_before_a_real_second() -> None:
    body = pod(container(livenessProbe={**HEALTH, "periodSeconds": 15, "timeoutSeconds": 5, "failureThreshold": 2}))
    engines = [FakeEngine(hangs=True), FakeEngine()]
    stage = play(Stage(body, speed=15, engines=engines), lasting(6))
    assert stage.started == 2
    killed = next(at for at, reason, _ in stage.api.events if reason == "Killing")
    # Asked after 1 s and, as the first question took a second and one tick was missed, after 2 s or 3 s.
    assert 3 <= killed <= 4.1
    assert any("context deadline exceeded" in message for _, _, message in stage.api.events)


def test_unreadiness_follows_the_threshold_and_passes_without_a_restart() -> None:
    body = pod(container(readinessProbe={**HEALTH, "periodSeconds": 5, "failureThreshold": 3}))
    engine = FakeEngine()

    async def waver(_stage: Stage) -> None:
        await asyncio.sleep(11)
        engine.status = 503
        await asyncio.sleep(30)
        engine.status = 200
        await asyncio.sleep(10)

    stage = play(Stage(body, engines=[engine]), waver)
    turns = [(each.at, each.ready) for each in stage.api.statuses if each.phase == "Running"]
    lost = next(at for at, ready in turns if not ready and at > 1)
    back = next(at for at, ready in turns if ready and at > lost)
    assert lost == pytest.approx(25, abs=0.1)
    assert back == pytest.approx(45, abs=0.1)
    assert stage.started == 1


def test_memory_that_ran_out_is_the_last_state_of_the_restarted_container() -> None:
    engines = [FakeEngine(), FakeEngine()]

    async def run_out(_stage: Stage) -> None:
        await asyncio.sleep(5)
        engines[0].crash(137, "OOMKilled")
        await asyncio.sleep(5)

    stage = play(Stage(pod(container()), engines=engines), run_out)
    status = stage.status()
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
    assert status["lastState"]["terminated"]["exitCode"] == 137
    assert "running" in status["state"]


def test_a_container_that_keeps_crashing_waits_longer_and_longer() -> None:
    class Crashing(FakeEngine):
        def start(self) -> None:
            super().start()
            starts.append(virtual.now())
            asyncio.get_running_loop().call_later(1, self.crash, 1, "Error")

    starts: list[float] = []
    stage = Stage(pod(container()), engines=[Crashing() for _ in range(9)])
    stage = play(stage, lasting(1500))
    gaps = [round(after - before - 1) for before, after in pairwise(starts)]
    assert gaps[:8] == [0, 10, 20, 40, 80, 160, 300, 300]
    waiting = [each for each in stage.api.statuses if "waiting" in each.status["containerStatuses"][0]["state"]]
    shown = waiting[-1].status["containerStatuses"][0]["state"]["waiting"]
    assert shown["reason"] == "CrashLoopBackOff"
    assert shown["message"].startswith("back-off 5m0s restarting failed container=vllm pod=llama-0_llm(")
    assert waiting[-1].phase == "Running"
    assert "BackOff" in stage.api.reasons()


def test_deletion_waits_for_the_hook_then_for_the_program_and_then_removes_the_pod() -> None:
    body = pod(container(lifecycle={"preStop": {"sleep": {"seconds": 10}}}, readinessProbe=HEALTH))
    engine = FakeEngine(drain=7)

    async def delete(stage: Stage) -> None:
        await asyncio.sleep(5)
        stage.delete()
        await asyncio.sleep(9.9)
        assert engine.ended_by == ""
        await asyncio.sleep(0.2)
        assert engine.ended_by == "SIGTERM"
        assert await stage.gone() == pytest.approx(5 + 10 + 7)

    stage = play(Stage(body, engines=[engine]), delete)
    assert stage.api.statuses[-1].phase == "Failed"
    assert stage.status()["state"]["terminated"]["exitCode"] == 143
    assert "Killing" in stage.api.reasons()
    assert stage.network.servers == {}


@pytest.mark.parametrize(
    ("offered", "slept"),
    [
        (0.0, 2.0),  # 30 s, 15 times as fast
        (1.5, 2.0),
        (4.0, 4.0),  # the endpoints' controller takes its time at any speed
        (100.0, 30.0),  # and would have been too slow at the speed of real time as well
    ],
)
def test_a_faster_hook_waits_for_real_endpoints_as_long_as_a_real_one_would(offered: float, slept: float) -> None:
    body = pod(container(lifecycle={"preStop": {"sleep": {"seconds": 30}}}))
    engine = FakeEngine()

    async def delete(stage: Stage) -> None:
        await asyncio.sleep(1)
        stage.network.offered_until = 1 + offered
        stage.delete(grace=600)
        await asyncio.sleep(slept - 0.1)
        assert engine.ended_by == ""
        await asyncio.sleep(0.2)
        assert engine.ended_by == "SIGTERM"

    play(Stage(body, speed=15, engines=[engine]), delete)


@pytest.mark.parametrize(
    ("command", "leader_ends", "gone"),
    [
        ('os.environ["LWS_LEADER_ADDRESS"]', 20, 25),
        ('os.environ["LWS_LEADER_ADDRESS"]', 500, 5 + 100),  # the grace period is over before
        ("exit 0", 20, 5),
    ],
)
def test_a_worker_of_a_group_stays_for_its_leader_where_its_hook_says_so(
    command: str, leader_ends: float, gone: float
) -> None:
    body = pod(container(lifecycle={"preStop": {"exec": {"command": ["python3", "-c", command]}}}))

    class Leader:
        def met(self) -> None: ...
        def lost(self) -> None: ...

    async def delete(stage: Stage) -> None:
        group, leader = Group(2), Leader()
        group.enter(0, leader, "10.64.0.7")
        seat = Seat(group, 1, "10.64.0.8", "leader", 600, lambda _, port: Endpoint("10.64.0.7", port))
        stage.program = Worker(seat, Speed(1), lambda _: lambda: None)
        await asyncio.sleep(5)
        stage.delete(grace=100)
        asyncio.get_running_loop().call_later(leader_ends, group.leave, leader)
        assert await stage.gone() == pytest.approx(gone, abs=0.2)

    play(Stage(body), delete)


def test_a_program_that_outlasts_the_grace_period_is_killed_at_its_end() -> None:
    body = pod(container(lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "sleep 10"]}}}))
    engine = FakeEngine(drain=1000)

    async def delete(stage: Stage) -> None:
        await asyncio.sleep(1)
        stage.delete(grace=30)
        assert await stage.gone() == pytest.approx(31)

    stage = play(Stage(body, engines=[engine]), delete)
    assert engine.ended_by == "SIGKILL"
    assert stage.status()["state"]["terminated"]["exitCode"] == 137


def test_a_hook_as_long_as_the_grace_period_leaves_the_program_two_seconds() -> None:
    body = pod(container(lifecycle={"preStop": {"sleep": {"seconds": 100}}}))

    async def delete(stage: Stage) -> None:
        await asyncio.sleep(1)
        stage.delete(grace=30)
        assert await stage.gone() == pytest.approx(33)

    play(Stage(body, engines=[FakeEngine(drain=1000)]), delete)


def test_a_second_deletion_with_less_patience_is_obeyed() -> None:
    async def delete(stage: Stage) -> None:
        await asyncio.sleep(1)
        stage.delete(grace=300)
        await asyncio.sleep(10)
        stage.delete(grace=4)
        assert await stage.gone() == pytest.approx(15)

    play(Stage(pod(container()), engines=[FakeEngine(drain=1000)]), delete)


def test_a_pod_removed_by_force_ends_within_the_shortest_grace_and_is_not_written_again() -> None:
    async def remove(stage: Stage) -> None:
        await asyncio.sleep(5)
        before = len(stage.api.statuses)
        stage.worker.remove()
        await stage.tasks[0]
        assert virtual.now() == pytest.approx(7)
        assert len(stage.api.statuses) == before

    stage = play(Stage(pod(container()), engines=[FakeEngine(drain=1000)]), remove)
    assert stage.api.deletions == []


def test_a_pod_deleted_while_its_image_is_pulled_goes_at_once() -> None:
    async def delete(stage: Stage) -> None:
        await asyncio.sleep(3)
        stage.delete()
        assert await stage.gone() == pytest.approx(3)
        await stage.pull
        assert virtual.now() == pytest.approx(500)

    stage = play(Stage(pod(container()), engines=[FakeEngine()], pull_seconds=500), delete)
    assert stage.started == 0
    assert stage.api.statuses[-1].phase == "Failed"
    assert stage.status()["state"]["terminated"]["reason"] == "ContainerStatusUnknown"


def test_the_last_readiness_answers_count_while_a_pod_ends() -> None:
    body = pod(
        container(readinessProbe={**HEALTH, "periodSeconds": 5}, lifecycle={"preStop": {"sleep": {"seconds": 20}}})
    )
    engine = FakeEngine()

    async def delete(stage: Stage) -> None:
        await asyncio.sleep(1)
        stage.delete()
        asked = len(engine.asked)
        await asyncio.sleep(11)
        assert len(engine.asked) >= asked + 2
        await stage.gone()

    play(Stage(body, engines=[engine]), delete)


def test_init_containers_run_one_after_the_other_before_the_others() -> None:
    body = pod(container(), initContainers=[container("check"), container("prepare")])
    stage = play(Stage(body, engines=[FakeEngine()]), lasting(5))
    started = [(round(at), message) for at, reason, message in stage.api.events if reason == "Started"]
    assert [at for at, _ in started] == [0, 1, 2]
    first = stage.api.statuses[0].status
    assert first["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    last = stage.api.statuses[-1].status
    assert [each["ready"] for each in last["initContainerStatuses"]] == [True, True]
    assert last["initContainerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"


def test_a_sidecar_runs_beside_the_others_and_ends_after_them() -> None:
    body = pod(container(), initContainers=[container("proxy", restartPolicy="Always")])

    async def delete(stage: Stage) -> None:
        await asyncio.sleep(5)
        assert stage.status("proxy")["ready"]
        stage.delete()
        await stage.gone()

    stage = play(Stage(body, engines=[FakeEngine(drain=5)]), delete)
    ended = {name: stage.status(name)["state"]["terminated"]["finishedAt"] for name in ("vllm", "proxy")}
    assert ended["vllm"] <= ended["proxy"]
    killed = [message for _, reason, message in stage.api.events if reason == "Killing"]
    assert killed == ["Stopping container vllm", "Stopping container proxy"]


def test_the_pod_of_a_job_completes() -> None:
    async def job(stage: Stage) -> None:
        await asyncio.sleep(5)
        assert stage.api.statuses[-1].phase == "Succeeded"
        stage.delete()
        assert await stage.gone() == pytest.approx(5)

    stage = play(Stage(pod(container("populate"), restartPolicy="Never")), job)
    condition = {each["type"]: each for each in stage.api.statuses[-1].status["conditions"]}["Ready"]
    assert (condition["status"], condition["reason"]) == ("False", "PodCompleted")
    assert stage.status("populate")["state"]["terminated"] | {"startedAt": "", "finishedAt": "", "containerID": ""} == {
        "exitCode": 0,
        "reason": "Completed",
        "startedAt": "",
        "finishedAt": "",
        "containerID": "",
    }


def test_a_program_that_fails_in_a_pod_that_is_never_restarted_fails_the_pod() -> None:
    engine = FakeEngine()

    async def fail(_stage: Stage) -> None:
        await asyncio.sleep(5)
        engine.crash(3, "Error")
        await asyncio.sleep(5)

    stage = play(Stage(pod(container(), restartPolicy="Never"), engines=[engine]), fail)
    assert stage.api.statuses[-1].phase == "Failed"
    assert stage.status()["state"]["terminated"]["exitCode"] == 3


def test_two_pods_wait_for_one_pull_of_an_image() -> None:
    async def twice() -> tuple[float, float, float]:
        machine = Machine(NODE)
        times = []

        async def pull() -> None:
            await machine.pull("vllm:1", 20)
            times.append(virtual.now())

        first = asyncio.create_task(pull())
        await asyncio.sleep(5)
        second = asyncio.create_task(pull())
        await first
        await second
        await pull()
        return times[0], times[1], times[2]

    assert virtual.run(twice()) == (20, 20, 20)


def test_after_a_restart_of_this_process_running_containers_count_as_restarted_and_keep_their_address() -> None:
    body = pod(container(readinessProbe=HEALTH))
    body["status"] = {
        "phase": "Running",
        "podIP": "10.64.3.9",
        "startTime": "2026-11-23T22:00:00Z",
        "containerStatuses": [
            {"name": "vllm", "restartCount": 2, "state": {"running": {"startedAt": "2026-11-23T22:00:01Z"}}}
        ],
    }
    stage = play(Stage(body, engines=[FakeEngine()]), lasting(2))
    assert stage.worker.record.address == "10.64.3.9"
    assert stage.status()["restartCount"] == 3
    assert stage.status()["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert stage.api.statuses[-1].status["startTime"] == "2026-11-23T22:00:00Z"


def test_a_machine_that_loses_its_power_takes_its_pods_along_without_a_word() -> None:
    engine = FakeEngine()

    async def cut(stage: Stage) -> None:
        await asyncio.sleep(5)
        before = len(stage.api.statuses)
        stage.tasks[0].cancel()
        await asyncio.sleep(5)
        assert engine.ended_by == "SIGKILL"
        assert stage.network.servers == {}
        assert len(stage.api.statuses) == before

    stage = play(Stage(pod(container()), engines=[engine]), cut)
    assert stage.api.deletions == []


def test_a_container_that_cannot_be_made_says_why_and_is_tried_again() -> None:
    class Lacking(Stage):
        def _program(self, *around: Any) -> FakeEngine | Worker | None:
            if virtual.now() < 25:
                raise ClusterError("nothing is known of the model", where="container 'vllm'")
            return super()._program(*around)

    stage = play(Lacking(pod(container()), engines=[FakeEngine()]), lasting(40))
    waiting = next(each for each in stage.api.statuses if _reason(each.status) == "CreateContainerError")
    assert waiting.phase == "Pending"
    message = waiting.status["containerStatuses"][0]["state"]["waiting"]["message"]
    assert message == "container 'vllm': nothing is known of the model"
    assert stage.api.first("Running") == pytest.approx(30, abs=0.1)
    assert "Failed" in stage.api.reasons()


def _reason(status: Body) -> str | None:
    reason: str | None = dig(status, "containerStatuses", 0, "state", "waiting", "reason")
    return reason


def test_a_noisy_pod_is_cut_off_after_25_events() -> None:
    body = pod(container(readinessProbe={**HEALTH, "periodSeconds": 1}))
    engine = FakeEngine(status=500)

    async def change(_stage: Stage) -> None:
        for number in range(60):
            engine.status = 500 + number
            await asyncio.sleep(1)

    stage = play(Stage(body, engines=[engine]), change)
    assert len(stage.api.events) == 25
