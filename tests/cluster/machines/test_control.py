"""The control API over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp.test_utils import TestClient, TestServer

from chartproof.cluster.api import Api
from chartproof.cluster.machines.control import Control
from chartproof.cluster.machines.faults import Faults
from chartproof.cluster.machines.kubelet import Kubelets
from chartproof.cluster.machines.watch import Change, Client, Watch
from chartproof.cluster.speed import Speed
from chartproof.errors import UsageError
from tests.cluster.machines.doubles import NODE, FakeApi, FakeEngine, FakeNetwork, container, pod

Http = TestClient[Any, Any]


class Breakable:
    """Notes what was broken."""

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []

    def break_host(self, host_pattern: str, mode: str) -> None:
        if mode != "refuse":
            raise UsageError("no such mode")
        self.done.append((host_pattern, mode))

    def mend(self, host_pattern: str) -> None:
        self.done.append((host_pattern,))


def play(story: Callable[[Http, list[FakeEngine], Breakable], Awaitable[None]]) -> None:
    """Have one node with one pod, and talk to the control API."""

    async def told() -> None:
        client, network, engines = cast("Client", FakeApi()), Breakable(), list[FakeEngine]()
        begun = asyncio.Event()
        pods, nodes = Watch(client, "v1", "pods"), Watch(client, "v1", "nodes")

        def program(*_around: Any) -> FakeEngine:
            engines.append(FakeEngine())
            # The kubelet starts it in this same step.
            begun.set()
            return engines[-1]

        kubelets = Kubelets(client, pods, nodes, FakeNetwork(), Speed(10), program)
        faults = Faults(cast("Api", None), client, kubelets, Speed(10))
        control = Control(kubelets, faults, network, Speed(10), lambda: {"llama": 3})
        nodes._apply(Change.ADDED, NODE)
        pods._apply(Change.ADDED, pod(container()))
        running = asyncio.create_task(kubelets.run())
        try:
            async with TestClient(TestServer(control.application())) as http:
                await asyncio.wait_for(begun.wait(), 30)
                await story(http, engines, network)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(told())


async def post(http: Http, path: str, body: Any = None) -> tuple[int, Any]:
    async with http.post(path, json=body) as response:
        return response.status, await response.json()


def test_the_state_lists_pods_nodes_and_held_requests() -> None:
    async def story(http: Http, _engines: list[FakeEngine], _network: Breakable) -> None:
        async with http.get("/state") as response:
            state = await response.json()
        (found,) = state["pods"]
        assert (found["namespace"], found["name"], found["node"]) == ("llm", "llama-0", "gpu-1")
        assert found["containers"] == {"vllm": "Running"}
        assert found["address"].startswith("10.64.")
        (node,) = state["nodes"]
        assert (node["name"], node["instance"], node["lost"]) == ("gpu-1", "g6e.xlarge", False)
        assert state["held"] == {"llama": 3}
        assert state["speed"] == 10

    play(story)


def test_faults_of_pods_nodes_and_network() -> None:
    async def story(http: Http, engines: list[FakeEngine], network: Breakable) -> None:
        assert await post(http, "/pods/llm/llama-0/hang") == (200, {})
        assert [each.hangs for each in engines] == [True]
        assert await post(http, "/pods/llm/llama-0/unhang") == (200, {})
        assert [each.hangs for each in engines] == [False]
        assert await post(http, "/pods/llm/llama-0/oom") == (200, {})
        assert engines[0].exit_reason == "OOMKilled"
        assert await post(http, "/network/break", {"host": "10.64.*", "mode": "refuse"}) == (200, {})
        assert await post(http, "/network/mend", {"host": "10.64.*"}) == (200, {})
        assert network.done == [("10.64.*", "refuse"), ("10.64.*",)]
        assert await post(http, "/nodes/gpu-1/lose") == (200, {})
        async with http.get("/state") as response:
            assert (await response.json())["nodes"][0]["lost"] is True

    play(story)


def test_what_cannot_be_done_is_said() -> None:
    async def story(http: Http, _engines: list[FakeEngine], _network: Breakable) -> None:
        status, body = await post(http, "/pods/llm/another/oom")
        assert status == 400
        assert "nothing runs in this pod" in body["error"]
        status, body = await post(http, "/pods/llm/llama-0/freeze")
        assert (status, body) == (404, {"error": "no such fault: freeze; there are hang, unhang, oom, kill"})
        status, body = await post(http, "/nodes/another/lose")
        assert (status, "there is no such node" in body["error"]) == (400, True)
        status, body = await post(http, "/network/break", ["10.64.*"])
        assert (status, "names no host" in body["error"]) == (400, True)
        status, body = await post(http, "/network/break", {"host": "*", "mode": "sabotage"})
        assert (status, body["error"]) == (400, "no such mode")

    play(story)
