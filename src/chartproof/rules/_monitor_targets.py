"""Whether what a monitor or an annotation points at is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.release import Document, PodTemplate, Release, selector_matches
from chartproof.rules._monitors import engine_monitors
from chartproof.rules._pods import container_ports, labels_of
from chartproof.rules._selection import caught_by_service
from chartproof.workload import EngineContainer, engine_containers, engines_of

_Scraped = list[tuple[Document, PodTemplate]]


@dataclass(frozen=True, slots=True)
class MissingPort:
    """A port that an endpoint of a monitor asks for and nobody has."""

    wanted: str
    hint: str


def selects_elsewhere(monitor: Document, release: Release) -> bool:
    """Whether the monitor may be meant for objects of other releases.

    It is, where the release has nothing of the kind at all, or where nothing rendered fits its labels
    and it looks at other namespaces, unless the release's engine would then not be scraped.
    """
    selector = monitor.get("spec", "selector")
    if monitor.kind == "ServiceMonitor":
        labels = [dict(each.labels) for each in release.of_kind("Service")]
    else:
        labels = [labels_of(workload, pod) for workload in release.workloads for pod in workload.pod_templates]
    if not labels:
        return True
    if any(selector_matches(selector, each) for each in labels):
        return False
    names = monitor.get("spec", "namespaceSelector", "matchNames", default=[]) or []
    own = {each.namespace for each in release.documents if each.namespace}
    if names and own:
        return not own.intersection(names)
    abroad = bool(names) or monitor.get("spec", "namespaceSelector", "any") is True
    return abroad and (not engines_of(release) or bool(engine_monitors(release)))


def known_labels(monitor: Document, release: Release) -> str:
    """Labels of the first object that the monitor could have meant."""
    if monitor.kind == "ServiceMonitor":
        found = next((each.labels for each in release.of_kind("Service")), {})
    else:
        found = next((pod.labels for each in release.workloads for pod in each.pod_templates), {})
    return ", ".join(f"{key}: {value}" for key, value in list(found.items())[:3]) or "it has none, give it some"


def missing_port(endpoint: Mapping[str, Any], targets: list[Document], scraped: _Scraped) -> MissingPort | None:
    """The endpoint's port where no target has it, else None."""
    number = endpoint.get("targetPort", endpoint.get("portNumber"))
    ports = [port for _, pod in scraped for _, port in container_ports(pod)]
    if number is not None and "port" not in endpoint:
        known = [each for port in ports for each in (port.get("containerPort"), port.get("name")) if each]
        engines = [engine.port for owner, _ in scraped for engine in engine_containers(owner)]
        if not scraped or number in known or number in engines:
            return None
        return MissingPort(str(number), f"use one of {', '.join(str(each) for each in known)}")
    wanted = endpoint.get("port")
    services = [each for each in targets if each.kind == "Service"]
    if services:
        ports = [port for each in services for port in each.get("spec", "ports", default=[]) or []]
    names = [str(port.get("name")) for port in ports if port.get("name")]
    if wanted is not None and str(wanted) in names:
        return None
    what = "Service" if services else "container"
    hint = f"write port: {names[0]}" if names else f"give the {what}'s port a name and use it"
    return MissingPort(repr(wanted) if wanted is not None else "(none given)", hint)


def serves_there(endpoint: Mapping[str, Any], scraped: _Scraped) -> bool:
    """Whether the endpoint's port is that of an engine, rather than of a sidecar."""
    for owner, pod in scraped:
        for engine in engine_containers(owner):
            names = {str(port.get("name")) for c, port in container_ports(pod) if c is engine.container}
            wanted = {str(endpoint.get(key)) for key in ("port", "targetPort", "portNumber") if endpoint.get(key)}
            if wanted & (names | {str(engine.port)}) or len(list(container_ports(pod))) == 1:
                return True
    return False


def annotated(document: Document, release: Release) -> Iterator[tuple[Mapping[str, Any], EngineContainer, str]]:
    """Annotations that may ask for a scrape, the engine they are about, and where they stand."""
    if document.kind == "Service":
        for owner, _ in caught_by_service(release, document):
            engine = next(engine_containers(owner), None)
            if engine is not None:
                yield document.annotations, engine, "metadata.annotations"
                return
        return
    for engine in engine_containers(document):
        yield engine.pod.annotations, engine, engine.pod.path_of("metadata", "annotations")
