"""The played kubelets against a real API server, its scheduler and its controllers."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chartproof.cluster import control_plane, processes, state
from chartproof.cluster.api import Api, ApiError
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.live_loop import NODE_STAGE
from chartproof.cluster.machines.__main__ import tend
from chartproof.cluster.machines.kubelet import Kubelets
from chartproof.cluster.machines.watch import Client, Watch
from chartproof.cluster.objects import SYSTEM_NODE
from chartproof.cluster.speed import Speed
from chartproof.release import dig
from tests.cluster.machines import virtual
from tests.cluster.machines.doubles import FakeEngine, FakeNetwork, container

pytestmark = pytest.mark.cluster

Body = Mapping[str, Any]

#: Fast, so that a test takes seconds; nothing here says how long anything may take.
SPEED = Speed(20)
PATIENCE_SECONDS = 60
HEALTH = {"httpGet": {"path": "/health", "port": "http"}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[state.Place]:
    """A control plane whose kwok keeps nodes ready and leaves pods alone."""
    found = state.place("kubelets", tmp_path_factory.mktemp("state"))
    try:
        control_plane.start(found, control_plane.Settings(stages=(NODE_STAGE,)))
        Api(found.kubeconfig).create(SYSTEM_NODE)
        yield found
    finally:
        control_plane.stop(found)


@pytest.fixture(scope="module")
def started(place: state.Place) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Programs of the control plane that a test has started again; they run as long as it does."""
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for each in found:
        each.kill()
        each.wait()


class World:
    """Kubelets at work, and the API server they work for."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.network = FakeNetwork()
        self.engines: list[FakeEngine] = []
        self.make: Callable[[], FakeEngine] = FakeEngine
        self.kubelets: Kubelets

    def program(self, _pod: Body, which: Body, *_more: Any) -> FakeEngine | None:
        if which["name"] != "vllm":
            return None
        self.engines.append(self.make())
        return self.engines[-1]

    async def deploy(self, *containers: Body, replicas: int = 1, **spec: Any) -> None:
        labels = {"app": "engine"}
        port = {"name": "http", "port": 80, "targetPort": "http"}
        await self.create("v1", "Service", "engine", {"selector": labels, "ports": [port]})
        template = {"metadata": {"labels": labels}, "spec": {"containers": list(containers), **spec}}
        deployment = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        await self.create("apps/v1", "Deployment", "engine", deployment)

    async def create(self, version: str, kind: str, name: str, spec: Any) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        await self.call(self.api.create, {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec})

    async def all_of(self, version: str, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.call(self.api.list, version, kind, self.namespace)
        return found

    async def pods(self) -> list[dict[str, Any]]:
        return await self.all_of("v1", "Pod")

    async def endpoints(self) -> list[dict[str, Any]]:
        """Endpoints of the Service: conditions and addresses."""
        slices = await self.all_of("discovery.k8s.io/v1", "EndpointSlice")
        return [each for part in slices for each in part.get("endpoints") or ()]

    async def reasons(self) -> list[str]:
        return [
            each["reason"] for each in await self.all_of("v1", "Event") if each["source"].get("component") == "kubelet"
        ]

    async def told(self, reason: str) -> None:
        """Wait for an event of the kubelet: they are written behind the status."""

        async def is_there() -> bool:
            return reason in await self.reasons()

        await self.until(is_there)

    async def until(self, condition: Callable[[], Awaitable[Any]]) -> Any:
        """What the condition finds, as soon as it finds something."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    if found := await condition():
                        return found
                except ApiError as error:
                    if error.status:
                        raise
                await asyncio.sleep(0.05)

    async def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(function, *arguments, **options)

    async def ready_pod(self) -> dict[str, Any]:
        async def found() -> dict[str, Any] | None:
            return next((each for each in await self.pods() if is_ready(each)), None)

        return dict(await self.until(found))


def is_ready(pod: Body) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True" for each in dig(pod, "status", "conditions", default=())
    )


def play(place: state.Place, namespace: str, story: Callable[[World], Awaitable[None]]) -> World:
    """Run kubelets while the story is told, in a namespace of its own."""
    world = World(Api(place.kubeconfig), namespace)
    world.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    async def told() -> None:
        async with working(place, world):
            await story(world)

    asyncio.run(told())
    return world


@asynccontextmanager
async def working(place: state.Place, world: World) -> AsyncIterator[None]:
    async with Client(place.kubeconfig) as client:
        # Only this test's pods: others' are left over from tests whose kubelets are gone.
        pods = Watch(client, "v1", "pods", fieldSelector=f"metadata.namespace={world.namespace}")
        nodes = Watch(client, "v1", "nodes")
        world.kubelets = Kubelets(client, pods, nodes, world.network, SPEED, world.program)
        tasks = [asyncio.create_task(each.run()) for each in (pods, nodes, world.kubelets)]
        try:
            yield
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for each in tasks:
                assert each.cancelled() or each.exception() is None


def test_a_deployments_pod_is_ready_and_an_endpoint_only_once_its_engine_answers(place: state.Place) -> None:
    async def story(world: World) -> None:
        world.make = lambda: FakeEngine(load=float("inf"))
        await world.deploy(container(startupProbe={**HEALTH, "periodSeconds": 5}, readinessProbe=HEALTH))

        async def running() -> bool:
            return any(dig(each, "status", "phase") == "Running" for each in await world.pods())

        await world.until(running)

        await world.told("Unhealthy")
        (pod,) = await world.pods()
        assert not is_ready(pod)
        assert [each["conditions"]["ready"] for each in await world.endpoints()] == [False]
        world.engines[0].ready_at = 0
        pod = await world.ready_pod()
        assert pod["status"]["podIP"].startswith("10.64.")
        assert {"Pulling", "Pulled", "Created", "Started"} <= set(await world.reasons())

        async def serving() -> bool:
            return any(each["conditions"]["ready"] for each in await world.endpoints())

        await world.until(serving)
        assert (await world.endpoints())[0]["addresses"] == [pod["status"]["podIP"]]

    play(place, "startup", story)


def test_failing_liveness_and_lost_memory_restart_the_container_with_the_right_last_state(place: state.Place) -> None:
    async def story(world: World) -> None:
        probe = {**HEALTH, "periodSeconds": 5, "failureThreshold": 2}
        await world.deploy(container(livenessProbe=probe, readinessProbe=HEALTH))
        await world.ready_pod()
        world.engines[0].status = 500

        def restarted(count: int) -> Callable[[], Awaitable[Any]]:
            async def found() -> Any:
                for pod in await world.pods():
                    status = pod["status"]["containerStatuses"][0]
                    if status["restartCount"] == count and is_ready(pod):
                        return status
                return None

            return found

        status = await world.until(restarted(1))
        assert status["lastState"]["terminated"]["exitCode"] == 143
        await world.told("Killing")
        world.engines[1].crash(137, "OOMKilled")
        status = await world.until(restarted(2))
        assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
        assert status["lastState"]["terminated"]["exitCode"] == 137

    play(place, "restarts", story)


def test_a_deleted_pod_is_no_endpoint_runs_its_hook_and_is_gone_when_its_program_is(place: state.Place) -> None:
    async def story(world: World) -> None:
        world.make = lambda: FakeEngine(drain=float(10_000))
        hook = {"preStop": {"sleep": {"seconds": 20}}}
        await world.deploy(container(readinessProbe=HEALTH, lifecycle=hook), terminationGracePeriodSeconds=600)
        pod = await world.ready_pod()

        async def serving() -> bool:
            return any(each["conditions"]["ready"] for each in await world.endpoints())

        await world.until(serving)
        await world.call(
            world.api.patch,
            f"/apis/apps/v1/namespaces/{world.namespace}/deployments/engine/scale",
            {"spec": {"replicas": 0}},
        )
        asked = asyncio.get_running_loop().time()

        async def not_serving() -> bool:
            found = [each["conditions"] for each in await world.endpoints()]
            return bool(found) and not any(each["ready"] for each in found)

        await world.until(not_serving)
        engine = world.engines[0]

        async def asked_to_end() -> bool:
            return bool(engine.ended_by)

        await world.until(asked_to_end)
        assert engine.ended_by == "SIGTERM"
        assert SPEED.simulated(asyncio.get_running_loop().time() - asked) >= 20
        (left,) = await world.pods()
        assert left["metadata"]["name"] == pod["metadata"]["name"]
        assert "deletionTimestamp" in left["metadata"]
        engine.crash(0, "Completed")

        async def gone() -> bool:
            return not await world.pods()

        await world.until(gone)
        assert world.network.servers == {}

    play(place, "deletion", story)


def test_a_job_completes_and_its_pod_can_be_removed(place: state.Place) -> None:
    async def story(world: World) -> None:
        template = {"spec": {"restartPolicy": "Never", "containers": [container("populate")]}}
        await world.create("batch/v1", "Job", "populate", {"template": template})

        async def complete() -> bool:
            (job,) = await world.all_of("batch/v1", "Job")
            return any(each["type"] == "Complete" for each in dig(job, "status", "conditions", default=()))

        await world.until(complete)
        (pod,) = await world.pods()
        assert dig(pod, "status", "phase") == "Succeeded"
        await world.call(world.api.delete, "v1", "Pod", pod["metadata"]["name"], world.namespace)

        async def gone() -> bool:
            return not await world.pods()

        await world.until(gone)

    play(place, "jobs", story)


def test_pods_of_a_node_that_is_deleted_are_failed_and_replaced(place: state.Place) -> None:
    async def story(world: World) -> None:
        labels = {**SYSTEM_NODE["metadata"]["labels"], "pool": "gpu", "kubernetes.io/hostname": "gpu-1"}
        node = {**SYSTEM_NODE, "metadata": {**SYSTEM_NODE["metadata"], "name": "gpu-1", "labels": labels}}
        await world.call(world.api.create, node)
        await world.deploy(container(), nodeSelector={"pool": "gpu"})
        first = await world.ready_pod()
        assert first["spec"]["nodeName"] == "gpu-1"
        await world.call(world.api.delete, "v1", "Node", "gpu-1")

        async def replaced() -> bool:
            found = await world.pods()
            return bool(found) and first["metadata"]["uid"] not in {each["metadata"]["uid"] for each in found}

        await world.until(replaced)
        assert world.engines[0].ended_by == "SIGKILL"

    play(place, "orphans", story)


def test_an_api_server_that_is_killed_and_started_again_is_survived(
    place: state.Place, started: list[subprocess.Popen[bytes]]
) -> None:
    async def story(world: World) -> None:
        await world.deploy(container(readinessProbe=HEALTH))
        await world.ready_pod()
        restart = _kill(place, "kube-apiserver")
        # Something happens while nobody can be told.
        world.engines[0].crash(137, "OOMKilled")
        await asyncio.sleep(1)
        started.append(restart())

        async def restarted() -> Any:
            for pod in await world.pods():
                status = pod["status"]["containerStatuses"][0]
                if status["restartCount"] == 1 and is_ready(pod):
                    return status
            return None

        status = await world.until(restarted)
        assert status["lastState"]["terminated"]["reason"] == "OOMKilled"
        # Watches are at work again: a new pod is taken care of.
        await world.call(
            world.api.patch,
            f"/apis/apps/v1/namespaces/{world.namespace}/deployments/engine/scale",
            {"spec": {"replicas": 2}},
        )

        async def both() -> bool:
            return [is_ready(each) for each in await world.pods()] == [True, True]

        await world.until(both)

    play(place, "outage", story)


def test_the_process_plays_pods_says_its_state_and_ends_cleanly_when_told(place: state.Place) -> None:
    settings = LiveSettings.choose(SPEED)
    settings.save(place.directory)
    api = Api(place.kubeconfig)
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "process"}})
    spec = {"containers": [container("nginx", readinessProbe=HEALTH)]}
    api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}, "process")
    command = [sys.executable, "-m", "chartproof.cluster.machines", str(place.directory)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not is_ready(api.find("v1", "Pod", "web", "process") or {}):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            pods = _state(settings)["pods"]
            assert [each["phase"] for each in pods if each["name"] == "web"] == ["Running"]
            second = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (second.returncode, "cannot listen" in second.stderr) == (1, True)
        finally:
            process.terminate()
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    with pytest.raises(OSError, match="refused"):
        _state(settings)


def _state(settings: LiveSettings) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", settings.control_port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/state")
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def test_a_directory_without_a_live_cluster_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chartproof.cluster.machines", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert "has no live loop" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_part_that_fails_or_ends_is_begun_again() -> None:
    begun: list[float] = []

    async def work() -> None:
        begun.append(virtual.now())
        if len(begun) == 1:
            raise ValueError
        if len(begun) == 3:
            await asyncio.sleep(1000)

    async def story() -> None:
        tending = asyncio.create_task(tend("a part", work))
        await asyncio.sleep(100)
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)

    virtual.run(story())
    assert len(begun) == 3


def _kill(place: state.Place, name: str) -> Callable[[], subprocess.Popen[bytes]]:
    """Kill a program of the control plane; how to start it again, as it was."""
    for pid in processes.of_cluster(place.directory):
        directory = Path("/proc") / str(pid)
        words = (directory / "cmdline").read_bytes().decode().rstrip("\0").split("\0")
        if words[0].endswith(f"/{name}"):
            variables = (directory / "environ").read_bytes().decode().rstrip("\0").split("\0")
            environment = dict(each.split("=", 1) for each in variables if "=" in each)
            working_directory = (directory / "cwd").readlink()
            os.kill(pid, signal.SIGKILL)
            return lambda: subprocess.Popen(
                words,
                env=environment,
                cwd=working_directory,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
    message = f"{name} does not run"
    raise AssertionError(message)
