"""Names by which documents refer to each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.release import Document, PodTemplate, dig
from chartproof.rules._pods import all_containers


@dataclass(frozen=True, slots=True)
class Reference:
    """A document's reference to another: its kind, name, where it is written, and the key it needs there."""

    kind: str
    name: str
    path: str
    key: str = ""
    optional: bool = False


def references(document: Document) -> Iterator[Reference]:
    """Every reference of a document to namespaced objects of its own release."""
    for pod in document.pod_templates:
        yield from _pod_references(pod)
    if document.kind == "StatefulSet" and document.get("spec", "serviceName"):
        yield Reference("Service", str(document.get("spec", "serviceName")), "spec.serviceName")
    if document.kind in {"ScaledObject", "ScaledJob"}:
        yield from _trigger_references(document)
    if document.kind == "Ingress":
        yield from _ingress_references(document)
    if document.kind == "HTTPRoute":
        yield from _route_references(document)
    if document.kind == "RoleBinding":
        yield from _binding_references(document)


def _pod_references(pod: PodTemplate) -> Iterator[Reference]:
    account = pod.spec.get("serviceAccountName")
    if account and account != "default":
        yield Reference("ServiceAccount", str(account), pod.path_of("spec", "serviceAccountName"))
    for i, volume in enumerate(pod.spec.get("volumes") or []):
        yield from _volume_references(volume, pod.path_of("spec", f"volumes[{i}]"))
    for container, path in all_containers(pod):
        for i, each in enumerate(container.get("env") or []):
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                source = dig(each, "valueFrom", field)
                if isinstance(source, Mapping):
                    yield _reference(kind, source, f"{path}.env[{i}].valueFrom.{field}", "name")
        for i, each in enumerate(container.get("envFrom") or []):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                source = dig(each, field)
                if isinstance(source, Mapping):
                    yield _reference(kind, source, f"{path}.envFrom[{i}].{field}", "name")


def _volume_references(volume: Mapping[str, Any], path: str) -> Iterator[Reference]:
    for field, kind, key in (
        ("configMap", "ConfigMap", "name"),
        ("secret", "Secret", "secretName"),
        ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
    ):
        source = dig(volume, field)
        if isinstance(source, Mapping) and source.get(key):
            reference = _reference(kind, source, f"{path}.{field}", key)
            items = [str(item.get("key")) for item in source.get("items") or []]
            yield reference
            for item in items:
                yield Reference(kind, reference.name, f"{path}.{field}.items", item, reference.optional)


def _reference(kind: str, source: Mapping[str, Any], path: str, key: str) -> Reference:
    return Reference(
        kind, str(source.get(key)), f"{path}.{key}", str(source.get("key") or ""), bool(source.get("optional"))
    )


def _trigger_references(document: Document) -> Iterator[Reference]:
    for i, trigger in enumerate(document.get("spec", "triggers", default=[]) or []):
        name = dig(trigger, "authenticationRef", "name")
        if name:
            kind = str(dig(trigger, "authenticationRef", "kind", default="TriggerAuthentication"))
            yield Reference(kind, str(name), f"spec.triggers[{i}].authenticationRef.name")


def _ingress_references(document: Document) -> Iterator[Reference]:
    default = document.get("spec", "defaultBackend", "service", "name")
    if default:
        yield Reference("Service", str(default), "spec.defaultBackend.service.name")
    for i, entry in enumerate(document.get("spec", "rules", default=[]) or []):
        for j, path in enumerate(dig(entry, "http", "paths", default=[]) or []):
            name = dig(path, "backend", "service", "name")
            if name:
                yield Reference("Service", str(name), f"spec.rules[{i}].http.paths[{j}].backend.service.name")


def _route_references(document: Document) -> Iterator[Reference]:
    for i, entry in enumerate(document.get("spec", "rules", default=[]) or []):
        for j, backend in enumerate(dig(entry, "backendRefs", default=[]) or []):
            if dig(backend, "kind", default="Service") == "Service" and not dig(backend, "namespace"):
                yield Reference("Service", str(dig(backend, "name")), f"spec.rules[{i}].backendRefs[{j}].name")


def _binding_references(document: Document) -> Iterator[Reference]:
    if document.get("roleRef", "kind") == "Role":
        yield Reference("Role", str(document.get("roleRef", "name")), "roleRef.name")
