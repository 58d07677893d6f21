"""What a release needs that somebody else provides: Secrets, ConfigMaps and their keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.release import PodTemplate, Release, dig

PLACEHOLDER = "placeholder"
"""Value of every key that the harness supplies; as an API key, what clients of the release then send."""


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """A Secret or ConfigMap that pods refer to and the release does not bring."""

    kind: str
    namespace: str
    name: str
    keys: tuple[str, ...]

    def __str__(self) -> str:
        keys = f" ({', '.join(self.keys)})" if self.keys else ""
        return f"{self.kind} {self.namespace}/{self.name}{keys}"

    def body(self) -> dict[str, Any]:
        """The object with a placeholder for every key."""
        data = "stringData" if self.kind == "Secret" else "data"
        return {
            "apiVersion": "v1",
            "kind": self.kind,
            "metadata": {"name": self.name, "namespace": self.namespace},
            data: dict.fromkeys(self.keys, PLACEHOLDER),
        }


def prerequisites(release: Release) -> list[Prerequisite]:
    """Everything that pods of the release refer to, cannot do without, and that it does not bring."""
    brought = {(each.kind, release.namespace_of(each), each.name) for each in release.documents}
    wanted: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for document in release.documents:
        namespace = release.namespace_of(document)
        for template in document.pod_templates:
            for kind, name, key in _references(template):
                wanted[kind, namespace, name] |= {key} if key else set()
    return [
        Prerequisite(kind, namespace, name, tuple(sorted(keys)))
        for (kind, namespace, name), keys in sorted(wanted.items())
        if (kind, namespace, name) not in brought
    ]


def _references(template: PodTemplate) -> Iterator[tuple[str, str, str]]:
    """Kind, name and key (may be empty) of what a pod cannot start without."""
    for container in (*template.containers(), *template.containers(init=True)):
        for variable in container.get("env") or ():
            for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                yield from _named(kind, dig(variable, "valueFrom", field), "name")
        for source in container.get("envFrom") or ():
            for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                yield from _named(kind, source.get(field), "name")
    for volume in template.spec.get("volumes") or ():
        yield from _named("Secret", volume.get("secret"), "secretName")
        yield from _named("ConfigMap", volume.get("configMap"), "name")
        for source in dig(volume, "projected", "sources", default=()):
            yield from _named("Secret", source.get("secret"), "name")
            yield from _named("ConfigMap", source.get("configMap"), "name")
    for secret in template.spec.get("imagePullSecrets") or ():
        yield from _named("Secret", secret, "name")


def _named(kind: str, reference: Mapping[str, Any] | None, field: str) -> Iterator[tuple[str, str, str]]:
    if not reference or reference.get("optional") or not reference.get(field):
        return
    keys = [each["key"] for each in reference.get("items") or ()] or [reference.get("key", "")]
    for key in keys:
        yield kind, reference[field], key
