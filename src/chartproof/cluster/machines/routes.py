"""Which models there are and which Service each is behind: what an operator would write into Ingress objects.

A Service leads to a model where it selects the pods of a workload whose container is an engine, at a port of that
engine. That holds at zero replicas too: only the workload's template is read. Engines that compute prompts or answers
only serve no client: the way to their model is a Service of the router that selects them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from chartproof.cluster.machines.real_containers import is_router, router_port
from chartproof.cluster.machines.watch import Change, Key, key_of
from chartproof.kv_transfer import kv_transfer
from chartproof.release import Document, dig, has_labels
from chartproof.workload import EngineContainer, engine_containers

Body = Mapping[str, Any]
Listener = Callable[[], None]

_LEADER_WORKER_SET = "leaderworkerset.sigs.k8s.io"
_SELECTOR = "--decode-selector"


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
    """An engine or router as Services see it: its pods' labels, and its ports by number and name.

    `is_half`: it computes prompts or answers only. `selects` are the labels of the engines that a router passes
    requests to; their models are its own.
    """

    labels: Mapping[str, str]
    ports: frozenset[int | str]
    models: tuple[str, ...]
    is_half: bool = False
    selects: Mapping[str, str] | None = None


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
        known = [(key[0], each) for (_, key), engines in self._engines.items() for each in engines]
        for namespace, engine in known:
            if engine.is_half:
                continue
            served: _Engine | None = engine
            if engine.selects is not None:
                served = _serving(engine, (each for where, each in known if where == namespace and each.is_half))
            route = _route(namespace, served, self._services.values()) if served is not None else None
            if route is not None:
                routes[route.key] = route
        if routes != self._routes:
            self._routes = routes
            for each in self._listeners:
                each()


def _engines(document: Document) -> Iterable[_Engine]:
    for each in engine_containers(document):
        if not each.is_worker:
            transfer = kv_transfer(each)
            labels = {**each.pod.labels, **_added(document)}
            is_half = transfer is not None and transfer.is_half
            yield _Engine(labels, frozenset(_ports(each.container, each.port)), _models(each), is_half)
    for pod in document.pod_templates:
        for container in pod.containers():
            if is_router(container):
                yield _router(pod.labels, container)


def _router(labels: Mapping[str, str], container: Body) -> _Engine:
    """A router: what answers is chosen by `--decode-selector`, a list of words `label=value`."""
    words = [str(each) for each in container.get("args") or ()]
    selects: dict[str, str] = {}
    if _SELECTOR in words:
        for each in takewhile(lambda word: not word.startswith("--"), words[words.index(_SELECTOR) + 1 :]):
            name, _, value = each.partition("=")
            selects[name] = value
    return _Engine(labels, frozenset(_ports(container, router_port(container))), (), selects=selects)


def _serving(router: _Engine, engines: Iterable[_Engine]) -> _Engine | None:
    """A router with the models of the engines that it selects; None where there are none."""
    selects = router.selects or {}
    models = [name for each in engines if has_labels(each.labels, selects) for name in each.models]
    return replace(router, models=tuple(dict.fromkeys(models))) if models else None


def _added(document: Document) -> Mapping[str, str]:
    """Labels that a controller adds to the pods that clients talk to.

    Source: LeaderWorkerSet 0.9, `api/leaderworkerset/v1/leaderworkerset_types.go`; the leader has index 0.
    """
    if document.kind != "LeaderWorkerSet":
        return {}
    return {f"{_LEADER_WORKER_SET}/name": document.name, f"{_LEADER_WORKER_SET}/worker-index": "0"}


def _ports(container: Body, port: int) -> Iterable[int | str]:
    """How a Service can name a port of a container."""
    yield port
    for each in container.get("ports") or ():
        if each.get("containerPort") == port and each.get("name"):
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
        if where != namespace or not selector or not has_labels(engine.labels, selector):
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
