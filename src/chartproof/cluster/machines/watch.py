"""Follows objects on the API server, and writes to it, without blocking: a small client for asyncio.

    async with Client(kubeconfig) as client:
        pods = Watch(client, "v1", "pods")
        pods.on_change(lambda change, pod: ...)
        await pods.run()

A server that goes away (it is killed in a fault test) is waited for: watches go on where they were, and what
`Client.insist` was told to write is written when it is back. Delays here are real seconds: the connection to
the server is real, whatever the speed of the rest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from chartproof.cluster.api import FIELD_MANAGER, ApiError, access
from chartproof.release import dig

Body = Mapping[str, Any]
Key = tuple[str, str]
"""Namespace (empty for what belongs to the cluster) and name."""

STRATEGIC_MERGE = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON = "application/json"

_SECONDS = 30
_CONNECT_SECONDS = 5
_CLOSING_SECONDS = 0.25
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
#: The server ends a watch after this time; the client comes back. A range, so that not all come at once.
_WATCH_SECONDS = (240, 300)
#: Between two questions for a kind that the server does not know.
_UNDEFINED_SECONDS = 5.0
_MAY_PASS = frozenset(
    {
        0,  # no answer at all
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)

log = logging.getLogger(__name__)


def path_of(api_version: str, plural: str, namespace: str = "", name: str = "", part: str = "") -> str:
    """URL path of a collection, an object, or a part of it such as `status`."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return "/".join(each for each in (f"{root}{scope}", plural, name, part) if each)


def pauses() -> Iterator[float]:
    """Growing seconds between two attempts, for as long as one likes to try."""
    pause = _SHORTEST_PAUSE
    while True:
        # Not for security: only so that several clients do not knock in step.
        yield pause * random.uniform(0.8, 1.2)  # noqa: S311
        pause = min(2 * pause, _LONGEST_PAUSE)


class Client:
    """Requests to one API server with a kubeconfig's certificates; an asynchronous context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        address, self._tls = access(kubeconfig)
        self._server = address.geturl().rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # Watches keep connections for themselves, so the number of connections is not limited.
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=_SECONDS, sock_connect=_CONNECT_SECONDS),
            # Certificates say who we are; a proxy that the environment names is not for a loopback address.
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            # Connections whose request was given up close a moment later (aiohttp, "Graceful Shutdown").
            await asyncio.sleep(_CLOSING_SECONDS)

    async def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Read a path; raises ApiError."""
        return await self.request("GET", path, parameters=parameters)

    async def find(self, path: str) -> dict[str, Any] | None:
        """One object, or None where it does not exist."""
        try:
            return await self.insist("GET", path)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        """One request; raises ApiError, of status 0 where the server does not answer."""
        given = dict(parameters or {})
        if method in {"POST", "PUT", "PATCH"}:
            given["fieldManager"] = FIELD_MANAGER
        try:
            async with self._open.request(
                method,
                self._server + path,
                params=given,
                data=None if body is None else json.dumps(body, ensure_ascii=False).encode(),
                headers={"Accept": JSON, "Content-Type": content_type},
            ) as response:
                answer = await response.read()
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, f"the API server does not answer: {error!r}", where=f"{method} {path}") from error
        return _content(status, answer, f"{method} {path}")

    async def insist(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        """As `request`, but a server that is away or busy is asked again until it answers.

        Raises ApiError where it refuses. Only for what may be said twice: reading, patching, deleting.
        """
        for pause in pauses():
            try:
                return await self.request(method, path, parameters=parameters, body=body, content_type=content_type)
            except ApiError as error:
                if error.status not in _MAY_PASS:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError  # pauses() never ends

    async def lines(self, path: str, **parameters: str) -> AsyncIterator[bytes]:
        """The lines of an answer that goes on for as long as the server likes; raises ApiError."""
        unlimited = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        where = f"GET {path}"
        try:
            async with self._open.get(
                self._server + path, params=parameters, headers={"Accept": JSON}, timeout=unlimited
            ) as response:
                if response.status != HTTPStatus.OK:
                    _content(response.status, await response.read(), where)
                # Not by the stream's own lines: they are limited in length, and a ConfigMap is one line.
                rest = b""
                try:
                    async for chunk in response.content.iter_any():
                        *whole, rest = (rest + chunk).split(b"\n")
                        for each in whole:
                            yield each
                finally:
                    if response.connection is not None and response.connection.transport is not None:
                        # Nobody says goodbye to a stream that goes on.
                        response.connection.transport.abort()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiError(0, f"the API server does not answer: {error!r}", where=where) from error

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            message = "a Client is used inside `async with`"
            raise RuntimeError(message)
        return self._session


class Change(StrEnum):
    """What happened to an object, in the server's words."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


Listener = Callable[[Change, Body], None]


class Watch:
    """The objects of one kind, as the server has them a moment ago.

    `objects` has them by namespace and name, each with its `apiVersion` and `kind`; `synced` is set once all
    are known. Listeners are called in the event loop, one change after another; what was missed while the
    server was away is told as changes too. Objects are shared: nobody may alter them.
    """

    def __init__(self, client: Client, api_version: str, plural: str, **parameters: str) -> None:
        """`parameters` limit what is followed: `labelSelector`, `fieldSelector`."""
        self.objects: dict[Key, Body] = {}
        self.synced = asyncio.Event()
        self._client = client
        self._api_version = api_version
        self._path = path_of(api_version, plural)
        self._parameters = parameters
        self._listeners: list[Listener] = []
        self._version = ""
        self._is_away = False

    def on_change(self, listener: Listener) -> None:
        """Call `listener` for everything that is known already, and for each change from now on."""
        self._listeners.append(listener)
        for each in list(self.objects.values()):
            listener(Change.ADDED, each)

    async def run(self) -> None:
        """Follow the server until cancelled."""
        waits = pauses()
        while True:
            try:
                if not self._version:
                    await self._list()
                    waits = pauses()
                    self._is_away = False
                if await self._follow():
                    waits = pauses()
                    self._is_away = False
                    continue
            except ApiError as error:
                if error.status == HTTPStatus.GONE:
                    # The server has forgotten what happened since: what is there now must be read anew.
                    self._version = ""
                if error.status == HTTPStatus.NOT_FOUND:
                    # A kind that is not defined, or not yet.
                    await asyncio.sleep(_UNDEFINED_SECONDS)
                    continue
                if not self._is_away:
                    log.info("%s", error)
                self._is_away = True
            await asyncio.sleep(next(waits))

    async def _list(self) -> None:
        answer = await self._client.get(self._path, **self._parameters)
        kind = str(answer.get("kind", "")).removesuffix("List")
        found: dict[Key, Body] = {}
        for each in answer.get("items") or ():
            # In lists of built-in kinds, the objects themselves do not say what they are.
            body: Body = {"apiVersion": self._api_version, "kind": kind, **each}
            found[key_of(body)] = body
        self._version = answer["metadata"]["resourceVersion"]
        for key in [
            each for each in self.objects if each not in found or _uid(found[each]) != _uid(self.objects[each])
        ]:
            self._apply(Change.DELETED, self.objects[key])
        for key, body in found.items():
            known = self.objects.get(key)
            if known is None:
                self._apply(Change.ADDED, body)
            elif _version(known) != _version(body):
                self._apply(Change.MODIFIED, body)
        self.synced.set()

    async def _follow(self) -> bool:
        """Apply changes until the server ends the watch; whether there was any."""
        parameters = {
            **self._parameters,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),  # noqa: S311  (see pauses)
        }
        changed = False
        async for line in self._client.lines(self._path, **parameters):
            event = json.loads(line)
            body = event["object"]
            if event["type"] == "ERROR":
                raise ApiError(int(body.get("code") or 0), str(body.get("message")), where=self._path)
            self._version = _version(body)
            changed = True
            if event["type"] != "BOOKMARK":
                self._apply(Change(event["type"]), body)
        return changed

    def _apply(self, change: Change, body: Body) -> None:
        key = key_of(body)
        if change is Change.DELETED:
            self.objects.pop(key, None)
        else:
            self.objects[key] = body
        for listener in self._listeners:
            try:
                listener(change, body)
            except Exception:
                # One listener's mistake must not blind the others.
                log.exception("%s %s %s", self._path, change, key)


def key_of(body: Body) -> Key:
    """Namespace and name of an object."""
    metadata = body["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _uid(body: Body) -> Any:
    return dig(body, "metadata", "uid")


def _version(body: Body) -> str:
    return str(dig(body, "metadata", "resourceVersion", default=""))


def _content(status: int, answer: bytes, where: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(answer) if answer.startswith(b"{") else {}
    if status >= HTTPStatus.BAD_REQUEST:
        message = content.get("message") or answer.decode(errors="replace").strip()
        raise ApiError(status, message, where=where)
    return content
