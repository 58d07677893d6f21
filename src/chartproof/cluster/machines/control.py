"""The control API of the played machines: what there is, and faults; JSON over HTTP, on loopback only.

    GET  /state
    POST /pods/NAMESPACE/NAME/{hang,unhang,oom,kill}
    POST /nodes/NAME/{lose,spot-notice,no-gpu}
    POST /nodepools/NAME/{withhold-gpus,return-gpus}  of nodes that register from now on
    POST /network/break   {"host": PATTERN, "mode": "refuse" | "error" | "nan" | "stale" | "empty"}
    POST /network/mend    {"host": PATTERN}

What cannot be done is answered with status 400 or 404 and {"error": ...}.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from aiohttp import web

from chartproof.cluster.machines.engine_server import EngineServer
from chartproof.cluster.machines.faults import Faults
from chartproof.cluster.machines.kubelet import Kubelets
from chartproof.cluster.machines.lifecycle import Running, State, Terminated, Waiting, timestamp
from chartproof.cluster.machines.pod_worker import PodWorker
from chartproof.cluster.machines.watch import key_of
from chartproof.cluster.objects import INSTANCE_TYPE
from chartproof.cluster.placement import CAPACITY_TYPE, NODE_POOL
from chartproof.cluster.speed import Speed
from chartproof.errors import ChartproofError, UsageError
from chartproof.release import dig

Body = Mapping[str, Any]
Fault = TypeVar("Fault")


class Breakable(Protocol):
    """The part of the pod network that can be broken on purpose."""

    def break_host(self, host_pattern: str, mode: str) -> None:
        """Answer for these hosts as `mode` says; raises UsageError for a mode that does not exist."""

    def mend(self, host_pattern: str) -> None:
        """End of `break_host`."""


class Control:
    """Answers and obeys for one cluster; `held` says how many requests the front door holds back, by model."""

    def __init__(
        self,
        kubelets: Kubelets,
        faults: Faults,
        network: Breakable,
        speed: Speed,
        held: Callable[[], Mapping[str, int]],
    ) -> None:
        self._kubelets = kubelets
        self._faults = faults
        self._network = network
        self._speed = speed
        self._held = held

    async def serve(self, port: int) -> None:
        """Listen until cancelled."""
        runner = web.AppRunner(self.application(), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        """All routes."""
        found = web.Application(middlewares=[_errors])
        found.router.add_get("/state", self._state)
        found.router.add_post("/pods/{namespace}/{name}/{fault}", self._pod)
        found.router.add_post("/nodes/{name}/{fault}", self._node)
        found.router.add_post("/nodepools/{name}/{fault}", self._node_pool)
        found.router.add_post("/network/{fault}", self._break)
        return found

    def state(self) -> dict[str, Any]:
        """Everything, now."""
        workers = sorted(self._kubelets.workers.values(), key=lambda each: key_of(each.pod))
        return {
            "speed": self._speed.factor,
            "pods": [self._pod_state(each) for each in workers],
            "engines": [state for each in workers for state in _engines(each)],
            "nodes": [
                {
                    "name": name,
                    "lost": machine.is_lost,
                    "images": sorted(machine.images),
                    **_labels(machine.node),
                }
                for name, machine in sorted(self._kubelets.machines.items())
            ],
            "held": dict(self._held()),
        }

    def _pod_state(self, worker: PodWorker) -> dict[str, Any]:
        namespace, name = key_of(worker.pod)
        record = worker.record
        return {
            "namespace": namespace,
            "name": name,
            "node": worker.machine.name,
            "address": record.address,
            "phase": worker.phase,
            "ready": worker.is_ready,
            "ending": worker.is_ending,
            "since": timestamp(worker.since),
            "seconds": round(self._speed.simulated((self._kubelets.now() - worker.since).total_seconds()), 1),
            "restarts": sum(each.restarts for each in record.containers),
            "containers": {each.name: _word(each.state) for each in (*record.init, *record.containers)},
        }

    async def _state(self, _request: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _pod(self, request: web.Request) -> web.Response:
        faults = {
            "hang": self._faults.hang,
            "unhang": self._faults.unhang,
            "oom": self._faults.out_of_memory,
            "kill": self._faults.kill,
        }
        _chosen(faults, request)(request.match_info["namespace"], request.match_info["name"])
        return web.json_response({})

    async def _node(self, request: web.Request) -> web.Response:
        faults: Mapping[str, Callable[[str], Awaitable[None] | None]] = {
            "lose": self._faults.lose,
            "spot-notice": self._faults.spot_notice,
            "no-gpu": self._faults.without_gpu,
        }
        waiting = _chosen(faults, request)(request.match_info["name"])
        if waiting is not None:
            await waiting
        return web.json_response({})

    async def _node_pool(self, request: web.Request) -> web.Response:
        faults = {"withhold-gpus": self._faults.withhold_gpus, "return-gpus": self._faults.return_gpus}
        await _chosen(faults, request)(request.match_info["name"])
        return web.json_response({})

    async def _break(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            host, mode = str(body["host"]), body.get("mode", "")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError("the body names no host", how='send {"host": "10.64.*", "mode": "refuse"}') from None
        faults: Mapping[str, Callable[[], None]] = {
            "break": lambda: self._network.break_host(host, mode),
            "mend": lambda: self._network.mend(host),
        }
        _chosen(faults, request)()
        return web.json_response({})


def _engines(worker: PodWorker) -> list[dict[str, Any]]:
    namespace, name = key_of(worker.pod)
    return [
        {
            "namespace": namespace,
            "pod": name,
            "container": container,
            "model": life.program.settings.terms.names[0],
            "loaded": life.program.loaded,
            "running": life.program.running,
            "waiting": life.program.waiting,
            "kv": life.program.kv_usage,
        }
        for container, life in worker.lives.items()
        if isinstance(life.program, EngineServer)
    ]


def _labels(node: Body) -> dict[str, str]:
    labels = dig(node, "metadata", "labels", default={})
    known = {"instance": INSTANCE_TYPE, "pool": NODE_POOL, "capacity": CAPACITY_TYPE}
    return {word: labels.get(label, "") for word, label in known.items()}


def _word(state: State) -> str:
    match state:
        case Waiting(reason):
            return reason
        case Running():
            return "Running"
        case Terminated(_, reason):
            return reason


def _chosen(faults: Mapping[str, Fault], request: web.Request) -> Fault:
    name = request.match_info["fault"]
    if name not in faults:
        message = f"no such fault: {name}; there are {', '.join(faults)}"
        raise web.HTTPNotFound(text=json.dumps({"error": message}), content_type="application/json")
    return faults[name]


@web.middleware
async def _errors(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except ChartproofError as error:
        return web.json_response({"error": str(error)}, status=HTTPStatus.BAD_REQUEST)
    return response
