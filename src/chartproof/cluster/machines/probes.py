"""Startup, readiness and liveness probes: really asked, at their periods, counted against their thresholds.

As the real kubelet does it (Kubernetes 1.36: `pkg/kubelet/prober`, `pkg/probe/http`), in simulated seconds, with one
exception: no probe times out before one real second. The process that answers shares this machine with a control
plane and is not faster than it is because time is; a slow machine must not look like a hung engine.

Requests go through the pod network in memory, not over a socket: twenty pods are asked a hundred times a second.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, Protocol, cast

import yarl
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict, CIMultiDictProxy

from chartproof.cluster.machines.server import ERROR_HEADER, REFUSED, Cut
from chartproof.cluster.speed import Speed
from chartproof.release import dig

Body = Mapping[str, Any]

#: Shortest time a probe is given, in real seconds (see above).
SHORTEST_TIMEOUT_SECONDS = 1.0

_USER_AGENT = "kube-probe/1.36"


class Kind(StrEnum):
    """What a probe is for, in the words of events."""

    STARTUP = "Startup"
    READINESS = "Readiness"
    LIVENESS = "Liveness"


class Dispatch(Protocol):
    """The part of the pod network that a kubelet knocks at."""

    async def dispatch(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        """Hand a request to whatever answers for the host of `url`."""


class ProbeError(Exception):
    """The probe cannot be asked at all, as one whose port has a name that the container does not have."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, and the kubelet's words for it where it is a failure."""

    passed: bool
    output: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe of one container, with Kubernetes' defaults; times in simulated seconds."""

    kind: Kind
    container: Body
    body: Body

    @classmethod
    def of(cls, container: Body, kind: Kind) -> Probe | None:
        """The container's probe of this kind, or None."""
        body = container.get(f"{kind.lower()}Probe")
        return cls(kind, container, body) if body else None

    @property
    def initial_delay(self) -> float:
        """Seconds after the container's start in which it is not asked."""
        return float(self.body.get("initialDelaySeconds") or 0)

    @property
    def period(self) -> float:
        """Seconds between two questions."""
        return float(self.body.get("periodSeconds") or 10)

    @property
    def timeout(self) -> float:
        """Seconds for an answer."""
        return float(self.body.get("timeoutSeconds") or 1)

    @property
    def failures(self) -> int:
        """Failures in a row that count as one."""
        return int(self.body.get("failureThreshold") or 3)

    @property
    def successes(self) -> int:
        """Successes in a row that count as one."""
        return int(self.body.get("successThreshold") or 1)

    @property
    def port(self) -> int:
        """The port it asks, by number; raises ProbeError for a name that the container does not have."""
        action = self.body.get("httpGet") or self.body.get("tcpSocket") or self.body.get("grpc") or {}
        given = action.get("port")
        if str(given).isdigit():
            return int(str(given))
        for each in self.container.get("ports") or ():
            if each.get("name") == given:
                return int(each["containerPort"])
        message = f"couldn't find port: {given!r} in container {self.container['name']!r}"
        raise ProbeError(message)

    def url(self, address: str) -> yarl.URL:
        """What an `httpGet` asks of the pod at `address`."""
        action = self.body["httpGet"]
        host, path = action.get("host") or address, str(action.get("path") or "/")
        scheme = str(action.get("scheme") or "http").lower()
        return yarl.URL(f"{scheme}://{host}:{self.port}{path if path.startswith('/') else f'/{path}'}")

    def headers(self) -> CIMultiDictProxy[str]:
        """The request's headers: those of the probe, and the kubelet's own where it does not overrule them."""
        found = CIMultiDict[str](
            (str(each["name"]), str(each["value"])) for each in dig(self.body, "httpGet", "httpHeaders", default=())
        )
        found.setdefault("User-Agent", _USER_AGENT)
        if found.setdefault("Accept", "*/*") == "":
            del found["Accept"]
        return CIMultiDictProxy(found)


class Tally:
    """Answers in a row, and what they come to."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._last: bool | None = None
        self._run = 0

    def note(self, *, passed: bool) -> bool | None:
        """Count an answer: the verdict once enough in a row agree, else None."""
        self._run = self._run + 1 if passed is self._last else 1
        self._last = passed
        needed = self._probe.successes if passed else self._probe.failures
        return passed if self._run >= needed else None


def first_question(probe: Probe) -> float:
    """Seconds from the container's start (readiness: from when it counts as started) to the first question.

    Workers tick with their period, whenever the container starts between two ticks, and skip the ticks of the
    initial delay. The latest of these times is taken for startup and liveness, so that a container has the full
    `initialDelaySeconds + periodSeconds x failureThreshold`; readiness is asked at once when the container has
    started, as the kubelet does on writing its status.
    """
    if probe.kind is Kind.READINESS and not probe.initial_delay:
        return 0.0
    ticks = max(1, -(-probe.initial_delay // probe.period))
    return ticks * probe.period


async def watch(
    probe: Probe,
    ask: Callable[[], Awaitable[Answer]],
    speed: Speed,
    *,
    verdict: Callable[[bool], None],
    failed: Callable[[str], None],
) -> None:
    """Ask again and again; tell every failure's words to `failed` and every decision to `verdict`.

    Begins where the container has just started. Ends by itself where the kubelet asks no more: a startup probe
    with its verdict, a liveness probe when it has failed for good.
    """
    clock = asyncio.get_running_loop().time
    period, tally = speed.real(probe.period), Tally(probe)
    due = clock() + speed.real(first_question(probe))
    while True:
        await asyncio.sleep(max(0.0, due - clock()))
        try:
            answer = await _in_time(probe, ask, speed)
        except ProbeError as error:
            failed(f"{probe.kind} probe errored and resulted in Unknown state: {error}")
        else:
            if not answer.passed:
                failed(f"{probe.kind} probe failed: {answer.output}")
            decided = tally.note(passed=answer.passed)
            if decided is not None:
                verdict(decided)
                if probe.kind is Kind.STARTUP or (probe.kind is Kind.LIVENESS and not decided):
                    return
        # A ticker forgets what it missed while the answer took long.
        due += period * max(1, -(-(clock() - due) // period))


async def _in_time(probe: Probe, ask: Callable[[], Awaitable[Answer]], speed: Speed) -> Answer:
    try:
        async with asyncio.timeout(max(SHORTEST_TIMEOUT_SECONDS, speed.real(probe.timeout))):
            return await ask()
    except TimeoutError:
        action = probe.body.get("httpGet")
        return Answer(
            passed=False,
            output=f'Get "{action.get("path") or "/"}": context deadline exceeded (Client.Timeout exceeded while '
            "awaiting headers)"
            if action
            else "i/o timeout",
        )


async def ask(probe: Probe, address: str, network: Dispatch, listening: Callable[[int], bool]) -> Answer:
    """Ask once. `listening` says whether the pod at `address` answers on a port.

    A command passes, as there is no shell to run it in, and so does a connection to a host other than the pod.
    Raises ProbeError.
    """
    if "exec" in probe.body:
        return Answer(passed=True)
    if "httpGet" in probe.body:
        return await _ask_http(probe, address, network)
    host = dig(probe.body, "tcpSocket", "host", default=address)
    if host != address or listening(probe.port):
        return Answer(passed=True)
    return Answer(passed=False, output=f"dial tcp {address}:{probe.port}: connect: connection refused")


async def _ask_http(probe: Probe, address: str, network: Dispatch) -> Answer:
    url = probe.url(address)
    shown = json.dumps(str(url))
    try:
        response = await network.dispatch(request_for(url, probe.headers()), url)
    except web.HTTPException as raised:
        response = raised
    except ConnectionError:
        response = Cut()
    if isinstance(response, Cut):
        return Answer(passed=False, output=f"Get {shown}: EOF")
    error = response.headers.get(ERROR_HEADER)
    if error == REFUSED:
        reason = f"dial tcp {url.host}:{url.port}: connect: connection refused"
        return Answer(passed=False, output=f"Get {shown}: {reason}")
    if error is not None:
        return Answer(passed=False, output=f"Get {shown}: dial tcp: lookup {url.host}: {error}")
    if HTTPStatus.OK <= response.status < HTTPStatus.BAD_REQUEST:
        return Answer(passed=True)
    return Answer(passed=False, output=f"HTTP probe failed with statuscode: {response.status}")


def request_for(url: yarl.URL, headers: CIMultiDictProxy[str]) -> web.BaseRequest:
    """A GET that came over no connection: what is written to it goes nowhere."""
    raw = tuple((name.encode(), value.encode()) for name, value in headers.items())
    path = url.raw_path_qs
    message = RawRequestMessage(
        *("GET", path, HttpVersion11, headers, raw),
        *(True, None, False, False),  # closes the connection; not compressed, no upgrade, not chunked
        yarl.URL(path, encoded=True),
    )
    task = asyncio.current_task()
    if task is None:
        message_ = "requests are made inside a task"
        raise RuntimeError(message_)
    return web.BaseRequest(
        message,
        EMPTY_PAYLOAD,
        # All that a request asks of its connection.
        cast("RequestHandler", SimpleNamespace(**_NO_CONNECTION)),
        _Nowhere(),
        task,
        asyncio.get_running_loop(),
    )


_NO_CONNECTION: Mapping[str, Any] = {"ssl_context": None, "peername": None, "sockname": None, "transport": None}


class _Nowhere(AbstractStreamWriter):
    """Takes what a program writes and forgets it: a probe reads the status only."""

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        pass

    async def write_eof(self, chunk: bytes = b"") -> None:
        pass

    async def drain(self) -> None:
        pass

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        pass

    def enable_chunking(self) -> None:
        pass

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        pass
