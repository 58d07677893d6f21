"""A small client of the Kubernetes API: discovery, reading, creating, server-side apply.

Only what the harness needs, on the standard library. Objects are dictionaries as the server sends
them; what the server refuses becomes an `ApiError` with the server's own words.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit
from weakref import finalize

import yaml

from chartproof.errors import ClusterError

Body = Mapping[str, Any]

FIELD_MANAGER = "chartproof"

_SECONDS = 30
_BUSY = frozenset({429, 503})
_BUSY_SECONDS = 15
_PAUSE_SECONDS = 0.2
_NOT_FOUND = 404
_CONFLICT = 409


class ApiError(ClusterError):
    """The API server answered with an error; `status` is the HTTP status code."""

    def __init__(self, status: int, message: str, *, where: str) -> None:
        self.status = status
        super().__init__(message, where=where)


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object and where the server keeps it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """URL path of the collection, or of one object."""
        root = "/apis" if "/" in self.api_version else "/api"
        parts = [root, self.api_version]
        if namespace and self.namespaced:
            parts += ["namespaces", quote(namespace)]
        parts.append(self.plural)
        if name:
            parts.append(quote(name))
        return "/".join(parts)


class Api:
    """A connection to one API server; safe to share between threads."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._server, context = access(kubeconfig)
        self._line = _Line(self._server, context)
        finalize(self, self._line.close)

    @cached_property
    def resources(self) -> Mapping[tuple[str, str], Resource]:
        """Every kind the server knows, by API version and kind; see `forget_resources`."""
        versions = [*self.get("/api")["versions"]]
        for group in self.get("/apis")["groups"]:
            versions += [each["groupVersion"] for each in group["versions"]]
        found = {}
        for version in versions:
            root = "/apis" if "/" in version else "/api"
            for each in self.get(f"{root}/{version}")["resources"]:
                if "/" not in each["name"]:
                    found[version, each["kind"]] = Resource(
                        api_version=version,
                        kind=each["kind"],
                        plural=each["name"],
                        namespaced=each["namespaced"],
                        verbs=frozenset(each["verbs"]),
                    )
        return found

    def forget_resources(self) -> None:
        """Ask again next time which kinds there are, for after definitions were added."""
        self.__dict__.pop("resources", None)

    def resource(self, api_version: str, kind: str) -> Resource:
        """Where objects of this kind are; raises ApiError where the server does not know it."""
        try:
            return self.resources[api_version, kind]
        except KeyError:
            raise ApiError(
                _NOT_FOUND,
                f'no matches for kind "{kind}" in version "{api_version}"',
                where=self._server.netloc,
            ) from None

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Read a path; raises ApiError."""
        return self.request("GET", path, parameters=parameters)

    def list(
        self, api_version: str, kind: str, namespace: str | None = None, **parameters: str
    ) -> list[dict[str, Any]]:
        """Objects of a kind, of one namespace or of all."""
        path = self.resource(api_version, kind).path(namespace)
        return list(self.get(path, **parameters).get("items") or ())

    def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """One object, or None where it does not exist."""
        try:
            return self.get(self.resource(api_version, kind).path(namespace, name))
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def create(self, body: Body, namespace: str | None = None) -> dict[str, Any]:
        """Create an object; one that already exists is left as it is."""
        resource = self.resource(body["apiVersion"], body["kind"])
        where = body["metadata"].get("namespace", namespace)
        try:
            return self.request("POST", resource.path(where), body=body)
        except ApiError as error:
            if error.status == _CONFLICT:
                return self.get(resource.path(where, body["metadata"]["name"]))
            raise

    def apply(self, body: Body, namespace: str | None = None, *, dry_run: bool = False) -> dict[str, Any]:
        """Server-side apply; with `dry_run` the server judges and keeps nothing."""
        resource = self.resource(body["apiVersion"], body["kind"])
        metadata = body["metadata"]
        where = metadata.get("namespace") or namespace or "default"
        path = resource.path(where, metadata["name"])
        parameters = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            parameters["dryRun"] = "All"
        # The patch is YAML by name, and JSON is YAML.
        kind = "application/apply-patch+yaml"
        return self.request("PATCH", path, parameters=parameters, body=body, content_type=kind)

    def patch(self, path: str, body: Body) -> dict[str, Any]:
        """Merge-patch a path, such as an object's `/status` or `/scale`."""
        parameters = {"fieldManager": FIELD_MANAGER}
        kind = "application/merge-patch+json"
        return self.request("PATCH", path, parameters=parameters, body=body, content_type=kind)

    def delete(
        self, api_version: str, kind: str, name: str, namespace: str | None = None, *, at_once: bool = False
    ) -> None:
        """Delete an object; one that does not exist is fine. `at_once` waits for no kubelet."""
        parameters = {"gracePeriodSeconds": "0"} if at_once else {}
        path = self.resource(api_version, kind).path(namespace, name)
        try:
            self.request("DELETE", path, parameters=parameters)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                raise

    def every_object(self, namespace: str | None = None) -> Iterator[tuple[Resource, dict[str, Any]]]:
        """Every object of every kind that can be listed, of one namespace or of the cluster."""
        for resource in self.resources.values():
            if "list" in resource.verbs and (namespace is None or resource.namespaced):
                for each in self.get(resource.path(namespace)).get("items") or ():
                    yield resource, each

    def request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """One request; raises ApiError, of status 0 where the server does not answer.

        A server that asks to come back later (as it does while it prepares to serve a new kind) is
        asked again for some seconds.
        """
        url = f"{path}?{urlencode(parameters)}" if parameters else path
        # Not in ASCII: the server reads patches as YAML, which has no surrogate pairs such as an emoji's.
        payload = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {"Accept": "application/json", "Content-Type": content_type}
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                status, answer = self._line.exchange(method, url, payload, headers)
            except (OSError, http.client.HTTPException) as error:
                raise ApiError(0, f"the API server does not answer: {error!r}", where=url) from error
            if status not in _BUSY or time.monotonic() > deadline:
                break
            time.sleep(_PAUSE_SECONDS)
        content: dict[str, Any] = json.loads(answer) if answer.startswith(b"{") else {}
        if status >= http.client.BAD_REQUEST:
            message = content.get("message") or answer.decode(errors="replace").strip()
            raise ApiError(status, message, where=f"{method} {path}")
        return content


class _Line:
    """One kept-open HTTPS connection, used by one thread at a time."""

    def __init__(self, server: SplitResult, context: ssl.SSLContext) -> None:
        self._server = server
        self._context = context
        self._lock = Lock()
        self._connection: http.client.HTTPSConnection | None = None

    def exchange(self, method: str, url: str, payload: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        """Send and receive; a connection that the server closed meanwhile is opened again, once."""
        with self._lock:
            if self._connection is not None:
                try:
                    return _send(self._connection, method, url, payload, headers)
                except (OSError, http.client.HTTPException):
                    self._connection.close()
            self._connection = http.client.HTTPSConnection(
                self._server.hostname or "127.0.0.1",
                self._server.port,
                timeout=_SECONDS,
                context=self._context,
            )
            return _send(self._connection, method, url, payload, headers)

    def close(self) -> None:
        """Close the connection, if one is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _send(
    connection: http.client.HTTPSConnection,
    method: str,
    url: str,
    payload: bytes | None,
    headers: dict[str, str],
) -> tuple[int, bytes]:
    connection.request(method, url, body=payload, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def token_request(seconds: int) -> Body:
    """What a ServiceAccount's `token` is asked for, to be good for so long."""
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }


def access(kubeconfig: Path) -> tuple[SplitResult, ssl.SSLContext]:
    """Where the API server of a kubeconfig is, and trust and identity to talk to it."""
    config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
    cluster = config["clusters"][0]["cluster"]
    return urlsplit(cluster["server"]), _tls(cluster, config["users"][0]["user"])


def _tls(cluster: Body, user: Body) -> ssl.SSLContext:
    """Trust and identity of a kubeconfig entry, whose certificates are inline or in files."""
    context = ssl.create_default_context()
    with _as_file(cluster, "certificate-authority") as path:
        context.load_verify_locations(path)
    with _as_file(user, "client-certificate") as certificate, _as_file(user, "client-key") as key:
        context.load_cert_chain(certificate, key)
    return context


@contextmanager
def _as_file(entry: Body, key: str) -> Iterator[str]:
    """The file that a kubeconfig names, or a temporary one with the data it contains."""
    if entry.get(key):
        yield str(entry[key])
        return
    with tempfile.NamedTemporaryFile(prefix="chartproof-") as temporary:
        temporary.write(base64.b64decode(entry.get(f"{key}-data", "")))
        temporary.flush()
        yield temporary.name
