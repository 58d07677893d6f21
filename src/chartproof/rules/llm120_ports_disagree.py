"""LLM120."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chartproof.findings import Finding, Severity
from chartproof.release import Document, PodTemplate, dig
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import container_ports
from chartproof.rules._references import references
from chartproof.rules._selection import caught_by_service, together
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers


@rule(id="LLM120", name="ports-disagree", severity=Severity.ERROR, kinds=("Service", "Ingress", "HTTPRoute", *SERVING))
def ports_disagree(document: Document, context: Context) -> Iterator[Finding]:
    """The ports of engine, container, Service and route do not lead to each other.

    What:
        A Service's target port is a name that no container of its pods declares, or a number on which
        neither the engine nor a declared port answers; an engine container declares ports and the one it
        listens on is not among them; an Ingress or HTTPRoute uses a port that the rendered Service lacks.

    Why it hurts:
        Pods are ready and every request gets "connection refused", because probes and Service take
        different ways.

    Bad:
        `--port 8080` in the engine, `containerPort: 8000`, `targetPort: 8000`.

    Good:
        One number in the engine and the container, and its name everywhere else.

    References:
        https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports
    """
    if document.kind == "Service":
        yield from _service(document, context)
    elif document.kind in {"Ingress", "HTTPRoute"}:
        yield from _route(document, context)
    else:
        for engine in engine_containers(document):
            yield from _container(engine, document, context)


def _container(engine: EngineContainer, document: Document, context: Context) -> Iterator[Finding]:
    declared = [dig(each, "containerPort") for each in engine.container.get("ports") or []]
    if declared and engine.port not in declared and not engine.is_worker:
        yield context.finding(
            document,
            f"{engine} listens on {engine.port} and declares {', '.join(str(each) for each in declared)}",
            path=f"{engine.path}.ports",
            hint=f"write containerPort: {engine.port}, or --port {declared[0]}",
        )


def _service(service: Document, context: Context) -> Iterator[Finding]:
    caught = caught_by_service(context.release, service)
    if not caught:
        return
    for i, port in enumerate(service.get("spec", "ports", default=[]) or []):
        target = dig(port, "targetPort", default=dig(port, "port"))
        wrong = [workload.identity for workload, pod in caught if not _answers(workload, pod, target)]
        if len(wrong) == len(caught):
            yield context.finding(
                service,
                f"port {dig(port, 'port')} leads to {target!r}, on which no container of {wrong[0]} answers",
                path=f"spec.ports[{i}].targetPort",
                hint=_hint(caught),
            )


def _answers(workload: Document, pod: PodTemplate, target: Any) -> bool:
    """Whether something in the pod listens on a Service's target port, as far as its manifest says.

    An engine's port is known; of other containers, only declared ports are. Without an engine in the
    pod a number may be right all the same, beside one only where a container is told of it.
    """
    ports = container_ports(pod)
    if "$" in str(target):
        return True
    if isinstance(target, str) and not target.isdigit():
        named = [(container, port) for container, port in ports if port.get("name") == target]
        return any(_listens(workload, pod, container, port) for container, port in named)
    number = int(target) if isinstance(target, int | str) else 0
    engines = [each for each in engine_containers(workload) if each.pod.path == pod.path]
    if not engines or any(each.port == number for each in engines):
        return True
    if any(port.get("containerPort") == number and _listens(workload, pod, owner, port) for owner, port in ports):
        return True
    silent = [each for each in pod.containers() if not each.get("ports")]
    beside = [each for each in silent if not any(each is engine.container for engine in engines)]
    return any(_speaks_of(each, number) for each in beside)


def _speaks_of(container: Mapping[str, Any], number: int) -> bool:
    """Whether a container without declared ports is told a port on its command line or in its environment."""
    told = [str(word) for key in ("command", "args") for word in container.get(key) or []]
    told += [str(dig(each, "value", default="")) for each in container.get("env") or []]
    return any(re.search(rf"(?<!\d){number}(?!\d)", text) for text in told)


def _listens(workload: Document, pod: PodTemplate, container: Mapping[str, Any], port: Mapping[str, Any]) -> bool:
    """Whether a declared port is believed: of an engine, the API port and named further ones."""
    for engine in engine_containers(workload):
        if engine.pod.path == pod.path and engine.container is container:
            declared = [dig(each, "containerPort") for each in container.get("ports") or []]
            return port.get("containerPort") == engine.port or engine.port in declared
    return True


def _hint(caught: list[tuple[Document, PodTemplate]]) -> str:
    for workload, pod in caught:
        for engine in engine_containers(workload):
            if engine.pod.path == pod.path:
                names = [dig(each, "name") for each in engine.container.get("ports") or []]
                return f"the engine listens on {engine.port}" + (f", named {names[0]}" if names and names[0] else "")
    return "use a port that the pod declares"


def _route(document: Document, context: Context) -> Iterator[Finding]:
    used = {each.name: each.path for each in references(document) if each.kind == "Service"}
    for service in context.release.of_kind("Service"):
        if service.name not in used or not together(context.release, document, service):
            continue
        ports = service.get("spec", "ports", default=[]) or []
        known = {str(dig(each, key)) for each in ports for key in ("port", "name") if dig(each, key) is not None}
        for port in _backend_ports(document, service.name):
            if port not in known:
                yield context.finding(
                    document,
                    f"sends requests to port {port} of Service {service.name!r}, which has {', '.join(sorted(known))}",
                    path=used[service.name],
                    hint="use a port of the Service, not of the pod",
                )


def _backend_ports(document: Document, name: str) -> Iterator[str]:
    for entry in document.get("spec", "rules", default=[]) or []:
        for path in dig(entry, "http", "paths", default=[]) or []:
            service = dig(path, "backend", "service", default={})
            if dig(service, "name") == name:
                port = dig(service, "port", "number", default=dig(service, "port", "name"))
                if port is not None:
                    yield str(port)
        for backend in dig(entry, "backendRefs", default=[]) or []:
            if dig(backend, "name") == name and dig(backend, "port") is not None:
                yield str(dig(backend, "port"))
