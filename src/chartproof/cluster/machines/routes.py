"""Which models there are and which Service each is behind: what an operator would write into Ingress objects.

A Service leads to a model where it selects the pods of a workload whose container is an engine, at a port of that
engine. That holds at zero replicas too: only the workload's template is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.cluster.machines.watch import Change, Key, key_of
from chartproof.release import Document, dig
from chartproof.workload import EngineContainer, engine_containers

Body = Mapping[str, Any]
Listener = Callable[[], None]

_LEADER_WORKER_SET = "leaderworkerset.sigs.k8s.io"


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a model: a port of a Service. `models` are the names that the engine answers to, the first its own."""

    namespace: str
    service: str
    port: int
    models: tuple[str, ...]

    @property
    def key(self) -> Key:
        """Namespace and name of the Service."""
        return self.namespace, self.service

    @property
    def model(self) -> str:
        """The model as metrics and ingress name it."""
        return self.models[0]


@dataclass(frozen=True, slots=True)
class _Engine:
    """An engine as Services see it: its pods' labels, and its ports by number and name."""

    labels: Mapping[str, str]
    ports: frozenset[int | str]
    models: tuple[str, ...]


class Routes:
    """Every way to a model, by Services and workloads.

    `service_changed` and `workload_changed` are listeners for watches of Services, and of Deployments and other kinds
    that have a pod template.
    """

    def __init__(self) -> None:
        self._services: dict[Key, Body] = {}
        self._templates: dict[tuple[str, Key], Any] = {}
        self._engines: dict[tuple[str, Key], tuple[_Engine, ...]] = {}
        self._routes: dict[Key, Route] = {}
        self._listeners: list[Listener] = []

    def on_change(self, listener: Listener) -> None:
        """Call `listener` when routes have come, changed or gone."""
        self._listeners.append(listener)

    def service_changed(self, change: Change, body: Body) -> None:
        """A Service is there, has changed or is gone."""
        if change is Change.DELETED:
            self._services.pop(key_of(body), None)
        else:
            self._services[key_of(body)] = body
        self._update()

    def workload_changed(self, change: Change, body: Body) -> None:
        """A workload is there, has changed or is gone; `kind` says which."""
        key = str(body.get("kind")), key_of(body)
        template = None if change is Change.DELETED else body.get("spec")
        if self._templates.get(key) == template:
            # Most changes are of the status.
            return
        if template is None:
            del self._templates[key], self._engines[key]
        else:
            self._templates[key] = template
            self._engines[key] = tuple(_engines(Document(body)))
        self._update()

    def all(self) -> list[Route]:
        """Every route, in order of namespace and Service."""
        return [self._routes[key] for key in sorted(self._routes)]

    def of_service(self, namespace: str, service: str) -> Route | None:
        """The route of a Service, or None."""
        return self._routes.get((namespace, service))

    def of_model(self, model: str, namespace: str = "") -> list[Route]:
        """The routes to a model, of one namespace or of all."""
        return [each for each in self.all() if model in each.models and namespace in {"", each.namespace}]

    def _update(self) -> None:
        routes = {}
        for (_, (namespace, _)), engines in self._engines.items():
            for engine in engines:
                route = _route(namespace, engine, self._services.values())
                if route is not None:
                    routes[route.key] = route
        if routes != self._routes:
            self._routes = routes
            for each in self._listeners:
                each()


def _engines(document: Document) -> Iterable[_Engine]:
    for each in engine_containers(document):
        if not each.is_worker:
            yield _Engine({**each.pod.labels, **_added(document)}, frozenset(_ports(each)), _models(each))


def _added(document: Document) -> Mapping[str, str]:
    """Labels that a controller adds to the pods that clients talk to.

    Source: LeaderWorkerSet 0.9, `api/leaderworkerset/v1/leaderworkerset_types.go`; the leader has index 0.
    """
    if document.kind != "LeaderWorkerSet":
        return {}
    return {f"{_LEADER_WORKER_SET}/name": document.name, f"{_LEADER_WORKER_SET}/worker-index": "0"}


def _ports(engine: EngineContainer) -> Iterable[int | str]:
    """How a Service can name the engine's port."""
    yield engine.port
    for each in engine.container.get("ports") or ():
        if each.get("containerPort") == engine.port and each.get("name"):
            yield str(each["name"])


def _models(engine: EngineContainer) -> tuple[str, ...]:
    """The names that the engine answers to."""
    served = engine.option("--served-model-name") or ""
    return tuple(served.split()) or (engine.model,)


def _route(namespace: str, engine: _Engine, services: Iterable[Body]) -> Route | None:
    """The way to an engine: of several Services one with an address of its own, and the first by name."""
    found = []
    for each in services:
        where, name = key_of(each)
        selector = dig(each, "spec", "selector", default={})
        if where != namespace or not selector or any(engine.labels.get(key) != selector[key] for key in selector):
            continue
        port = _port(each, engine)
        if port is not None:
            is_headless = dig(each, "spec", "clusterIP") == "None"
            found.append((is_headless, name, port))
    if not found:
        return None
    _, name, port = min(found)
    return Route(namespace, name, port, engine.models)


def _port(service: Body, engine: _Engine) -> int | None:
    """The Service's port that leads to the engine's, or None."""
    for each in dig(service, "spec", "ports", default=()):
        if each.get("targetPort", each.get("port")) in engine.ports:
            return int(each["port"])
    return None
