"""Stand-ins around the kubelet: an API server in memory, a pod network, an engine of a few lines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import yarl
from aiohttp import web

from chartproof.cluster.api import ApiError
from chartproof.cluster.machines.server import EXIT_KILLED, EXIT_TERMINATED

Body = Mapping[str, Any]

NODE: Body = {
    "metadata": {"name": "gpu-1", "uid": "node-1", "labels": {"node.kubernetes.io/instance-type": "g6e.xlarge"}},
    "status": {"addresses": [{"type": "InternalIP", "address": "10.65.0.1"}]},
}


def pod(*containers: Body, uid: str = "pod-1", **spec: Any) -> dict[str, Any]:
    """A pod that was bound to NODE."""
    return {
        "metadata": {"name": "llama-0", "namespace": "llm", "uid": uid, "generation": 1},
        "spec": {
            "nodeName": "gpu-1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "containers": list(containers),
            **spec,
        },
        "status": {"phase": "Pending"},
    }


def container(name: str = "vllm", **more: Any) -> dict[str, Any]:
    """A container with a port; `more` are further fields."""
    return {"name": name, "image": f"{name}:1", "ports": [{"name": "http", "containerPort": 8000}], **more}


def deleted(body: Body, grace: float = 30) -> dict[str, Any]:
    """The pod as it is once its deletion was asked for."""
    marked = {"deletionTimestamp": "2026-11-24T00:00:00Z", "deletionGracePeriodSeconds": grace}
    return {**body, "metadata": {**body["metadata"], **marked}}


def wall() -> datetime:
    """A wall clock that goes with the event loop."""
    return datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=asyncio.get_running_loop().time())


@dataclass
class FakeEngine:
    """A program that answers after `load` seconds, and needs `drain` seconds to end when asked."""

    load: float = 0.0
    drain: float = 0.0
    status: int = 200
    ports: tuple[int, ...] = (8000,)
    asked: list[str] = field(default_factory=list)
    ended_by: str = ""
    hangs: bool = False
    exit_reason: str = ""

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.ready_at = loop.time() + self.load
        self._exit: asyncio.Future[int] = loop.create_future()

    async def handle(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        assert request.method == "GET"
        assert request.headers["User-Agent"].startswith("kube-probe/")
        self.asked.append(str(url))
        if self.hangs:
            await asyncio.sleep(10_000)
        return web.Response(status=self.status)

    def terminate(self) -> None:
        self.ended_by = "SIGTERM"
        asyncio.get_running_loop().call_later(self.drain, self.crash, EXIT_TERMINATED, "Error")

    def kill(self) -> None:
        if not self._exit.done():
            self.ended_by = "SIGKILL"
        self.crash(EXIT_KILLED, "Error")

    def crash(self, code: int, reason: str) -> None:
        if not self._exit.done():
            self.exit_reason = reason
            self._exit.set_result(code)

    def hang(self) -> None:
        self.hangs = True

    def unhang(self) -> None:
        self.hangs = False

    @property
    def listening(self) -> bool:
        return asyncio.get_running_loop().time() >= self.ready_at and not self._exit.done()

    @property
    def exit(self) -> asyncio.Future[int]:
        return self._exit


class FakeNetwork:
    """Answers for pods in memory."""

    def __init__(self) -> None:
        self.servers: dict[str, Any] = {}
        self.aliases: dict[tuple[str, int], tuple[str, int]] = {}
        #: Real seconds of the loop until which addresses are offered to clients.
        self.offered_until = 0.0

    def offers(self, address: str) -> bool:
        return address in self.servers and asyncio.get_running_loop().time() < self.offered_until

    def attach(self, address: str, server: Any) -> None:
        self.servers[address] = server

    def detach(self, address: str) -> None:
        self.servers.pop(address, None)

    def alias(self, host: str, port: int, target: tuple[str, int]) -> None:
        self.aliases[host, port] = target

    def unalias(self, host: str, port: int) -> None:
        self.aliases.pop((host, port), None)

    async def dispatch(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        server = self.servers.get(url.host or "")
        if server is None or not server.listening or url.port not in server.ports:
            return web.Response(status=502, headers={"X-Chartproof-Error": "refused"})
        response: web.StreamResponse = await server.handle(request, url)
        return response


@dataclass(frozen=True)
class Written:
    """One status as it arrived."""

    at: float
    phase: str
    ready: bool
    status: Body


class FakeApi:
    """Takes what a kubelet writes; what it reads does not exist."""

    def __init__(self) -> None:
        self.statuses: list[Written] = []
        self.events: list[tuple[float, str, str]] = []
        self.deletions: list[float] = []
        self.refusals: list[ApiError] = []

    async def find(self, _path: str) -> dict[str, Any] | None:
        return None

    async def insist(self, method: str, path: str, *, body: Body | None = None, **_more: Any) -> dict[str, Any]:
        return await self.request(method, path, body=body or {})

    async def request(self, method: str, path: str, *, body: Body, **_more: Any) -> dict[str, Any]:
        now = asyncio.get_running_loop().time()
        if self.refusals:
            raise self.refusals.pop()
        if method == "DELETE":
            self.deletions.append(now)
        elif path.endswith("/status"):
            status = body["status"]
            conditions = {each["type"]: each["status"] for each in status["conditions"]}
            self.statuses.append(Written(now, status.get("phase", ""), conditions.get("Ready") == "True", status))
        elif method == "POST":
            self.events.append((now, body["reason"], body["message"]))
        return {}

    def first(self, phase: str = "", *, ready: bool | None = None) -> float:
        """When a phase, or readiness, was first written."""
        return next(
            each.at
            for each in self.statuses
            if (not phase or each.phase == phase) and (ready is None or each.ready is ready)
        )

    def reasons(self) -> list[str]:
        """Reasons of the events, in order."""
        return [reason for _, reason, _ in self.events]


def refusal(status: int = HTTPStatus.INTERNAL_SERVER_ERROR) -> ApiError:
    return ApiError(status, "no", where="test")
