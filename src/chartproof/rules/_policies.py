"""What NetworkPolicies let through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chartproof.release import Document, PodTemplate, Release, dig, selector_matches
from chartproof.rules._pods import container_ports
from chartproof.rules._selection import caught_by_service, label_selector_matches, together
from chartproof.workload import EngineContainer

NAMESPACE_NAME = "kubernetes.io/metadata.name"


def policies_on(release: Release, owner: Document, pod: PodTemplate) -> list[Document]:
    """NetworkPolicies of the release that select a workload's pods."""
    return [
        policy
        for policy in release.of_kind("NetworkPolicy")
        if together(release, policy, owner)
        and label_selector_matches(policy.get("spec", "podSelector", default={}), owner, pod)
    ]


def restricts(policy: Document, direction: str) -> bool:
    """Whether a policy governs `Ingress` or `Egress` of the pods it selects."""
    types = policy.get("spec", "policyTypes")
    if isinstance(types, list) and types:
        return direction in types
    return direction == "Ingress" or policy.get("spec", "egress") is not None


def rules_of(policies: list[Document], direction: str) -> list[Mapping[str, Any]]:
    """The allowing rules of all policies that govern a direction."""
    return [
        each if isinstance(each, Mapping) else {}
        for policy in policies
        if restricts(policy, direction)
        for each in policy.get("spec", direction.lower(), default=[]) or []
    ]


def peers(rule: Mapping[str, Any], direction: str) -> list[Mapping[str, Any]]:
    """The peers of a rule; empty means everybody."""
    return [each for each in rule.get("from" if direction == "Ingress" else "to") or [] if isinstance(each, Mapping)]


def allows_port(rule: Mapping[str, Any], port: int, *, protocol: str = "TCP", names: set[str] | None = None) -> bool:
    """Whether a rule lets a port through; `names` are the container's names for it."""
    ports = rule.get("ports") or []
    if not ports:
        return True
    for each in ports:
        if str(dig(each, "protocol", default="TCP")) != protocol:
            continue
        number, last = dig(each, "port"), dig(each, "endPort")
        if number is None or number == port or (names and number in names):
            return True
        if isinstance(number, int) and isinstance(last, int) and number <= port <= last:
            return True
    return False


def port_names(pod: PodTemplate, port: int) -> set[str]:
    """Names that containers of the pod give a port."""
    return {
        str(each["name"]) for _, each in container_ports(pod) if each.get("containerPort") == port and each.get("name")
    }


def admits_namespace(peer: Mapping[str, Any], namespace: str, own: str) -> bool | None:
    """Whether an ingress peer lets pods of a namespace in; None where that depends on labels not shown."""
    if "ipBlock" in peer:
        return None
    selector = peer.get("namespaceSelector")
    if selector is None:
        return namespace == own
    keys = {*(selector.get("matchLabels") or {}), *(dig(e, "key") for e in selector.get("matchExpressions") or [])}
    return selector_matches(selector, {NAMESPACE_NAME: namespace}) if keys <= {NAMESPACE_NAME} else None


def exposed_by(release: Release, engine: EngineContainer) -> Iterator[str]:
    """What makes an engine reachable from outside the cluster: Services of that type, routes to its Services."""
    names = set()
    for service in release.of_kind("Service"):
        if any(owner is engine.document for owner, _ in caught_by_service(release, service)):
            names.add(service.name)
            kind = service.get("spec", "type", default="ClusterIP")
            if kind in {"LoadBalancer", "NodePort"}:
                yield f"Service {service.name!r} of type {kind}"
    for route in release.of_kind("Ingress"):
        backends = [route.get("spec", "defaultBackend", "service", "name")]
        for entry in route.get("spec", "rules", default=[]) or []:
            backends += [
                dig(path, "backend", "service", "name") for path in dig(entry, "http", "paths", default=[]) or []
            ]
        if names & {str(each) for each in backends if each}:
            yield f"Ingress {route.name!r}"
    for route in release.of_kind("HTTPRoute"):
        for entry in route.get("spec", "rules", default=[]) or []:
            if names & {str(dig(each, "name")) for each in dig(entry, "backendRefs", default=[]) or []}:
                yield f"HTTPRoute {route.name!r}"
                break
