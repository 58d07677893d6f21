"""A `Release`: the rendered manifests that every check, plan, simulation and smoke test reads.

Nothing after rendering reads Helm values: what is judged is what would be deployed. A release
comes from `helm template` (`chartproof.helm`) or from plain manifests of any origin
(`chartproof.manifests`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, TypeVar, cast

Body = Mapping[str, Any]
Answer = TypeVar("Answer")

#: Where each built-in or third-party workload kind keeps its pod template.
POD_TEMPLATE_PATHS: Mapping[str, tuple[str, ...]] = {
    "Pod": (),
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "LeaderWorkerSet": ("spec", "leaderWorkerTemplate", "workerTemplate"),
}


def dig(value: Any, *path: str | int, default: Any = None) -> Any:
    """Follow `path` through mappings and lists; `default` where a step is missing or null."""
    for step in path:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, Sequence) and not isinstance(value, str) and isinstance(step, int):
            value = value[step] if -len(value) <= step < len(value) else None
        else:
            return default
        if value is None:
            return default
    return value


@dataclass(frozen=True)
class PodTemplate:
    """The pod that a document would create: `path` leads to it inside the document's body."""

    path: tuple[str, ...]
    body: Body

    @property
    def spec(self) -> Body:
        """The pod spec (empty mapping if absent)."""
        return dig(self.body, "spec", default={})  # type: ignore[no-any-return]

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the pods."""
        return dig(self.body, "metadata", "labels", default={})  # type: ignore[no-any-return]

    @property
    def annotations(self) -> Mapping[str, str]:
        """Annotations of the pods."""
        return dig(self.body, "metadata", "annotations", default={})  # type: ignore[no-any-return]

    def containers(self, *, init: bool = False) -> list[Body]:
        """The containers, or the init containers, that are mappings."""
        found = self.spec.get("initContainers" if init else "containers") or []
        return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []

    def container_path(self, container: Body, *, init: bool = False) -> str:
        """Dotted path of one container inside the document, e.g. `spec.template.spec.containers[0]`."""
        field_name = "initContainers" if init else "containers"
        index = next(i for i, each in enumerate(self.spec[field_name]) if each is container)
        return ".".join((*self.path, "spec", f"{field_name}[{index}]"))

    def path_of(self, *steps: str) -> str:
        """Dotted path, inside the document, of something below this template."""
        return ".".join((*self.path, *steps))


@dataclass(frozen=True)
class Document:
    """One Kubernetes object of a release.

    `source` is the chart template (`# Source:` of helm) or the file it was read from; `index` its
    position in the release.
    """

    body: Body
    source: str = ""
    index: int = 0

    @property
    def api_version(self) -> str:
        """`apiVersion`, empty if absent."""
        return str(self.body.get("apiVersion") or "")

    @property
    def kind(self) -> str:
        """`kind`, empty if absent."""
        return str(self.body.get("kind") or "")

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """API version without its group."""
        return self.api_version.rpartition("/")[2]

    @property
    def name(self) -> str:
        """`metadata.name`, empty if absent."""
        return str(dig(self.body, "metadata", "name", default=""))

    @property
    def namespace(self) -> str:
        """`metadata.namespace` as written, empty if absent."""
        return str(dig(self.body, "metadata", "namespace", default=""))

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the object itself."""
        return dig(self.body, "metadata", "labels", default={})  # type: ignore[no-any-return]

    @property
    def annotations(self) -> Mapping[str, str]:
        """Annotations of the object itself."""
        return dig(self.body, "metadata", "annotations", default={})  # type: ignore[no-any-return]

    @property
    def identity(self) -> str:
        """How findings name the object: `Kind/name`, or `Kind/namespace/name`."""
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    def get(self, *path: str | int, default: Any = None) -> Any:
        """`dig` into the body."""
        return dig(self.body, *path, default=default)

    @cached_property
    def pod_template(self) -> PodTemplate | None:
        """The pod template, or None for kinds that make no pods."""
        path = POD_TEMPLATE_PATHS.get(self.kind)
        if path is None:
            return None
        body = dig(self.body, *path)
        return PodTemplate(path, body) if isinstance(body, Mapping) else None

    @cached_property
    def pod_templates(self) -> tuple[PodTemplate, ...]:
        """All pod templates: a LeaderWorkerSet may have one for leaders beside that of its workers."""
        found = [self.pod_template] if self.pod_template else []
        if self.kind == "LeaderWorkerSet":
            path = ("spec", "leaderWorkerTemplate", "leaderTemplate")
            body = dig(self.body, *path)
            if isinstance(body, Mapping):
                found.append(PodTemplate(path, body))
        return tuple(found)


@dataclass(frozen=True)
class Release:
    """What one `helm install` (or one manifest stream) would send to the API server.

    `name` is how reports call it (the preset's file stem or the file name), `namespace` the
    namespace that documents without one land in, `origin` the preset, file or `-`, and `argv` the
    helm command that made it (empty for plain manifests).
    """

    name: str
    documents: tuple[Document, ...]
    namespace: str = "default"
    origin: str = ""
    argv: tuple[str, ...] = field(default=())

    def of_kind(self, *kinds: str) -> Iterator[Document]:
        """Documents of any of these kinds, in rendered order."""
        return (each for each in self.documents if each.kind in kinds)

    def find(self, kind: str, name: str, namespace: str | None = None) -> Document | None:
        """The document of this kind and name (and namespace, where given), or None."""
        for each in self.of_kind(kind):
            if each.name == name and namespace in (None, self.namespace_of(each)):
                return each
        return None

    def namespace_of(self, document: Document) -> str:
        """The namespace a namespaced document lands in."""
        return document.namespace or self.namespace

    def first_like(self, document: Document) -> Document:
        """The first document of the same group, kind, namespace and name: `document` itself unless repeated."""
        return self._first_of_identity[self._identity(document)]

    @cached_property
    def _first_of_identity(self) -> Mapping[tuple[str, str, str, str], Document]:
        # Reversed, so that the first one stays; an index, because streams of ten thousand documents exist.
        return {self._identity(each): each for each in reversed(self.documents)}

    def _identity(self, document: Document) -> tuple[str, str, str, str]:
        return document.group, document.kind, self.namespace_of(document), document.name

    @cached_property
    def _answers(self) -> dict[Callable[..., Any], Any]:
        # What `once_per_release` remembers; a changed copy of a release starts with nothing.
        return {}

    @cached_property
    def workloads(self) -> tuple[Document, ...]:
        """Documents that create pods."""
        return tuple(each for each in self.documents if each.pod_template)


def once_per_release(compute: Callable[[Release], Answer]) -> Callable[[Release], Answer]:
    """Make a function of a release remember its answer: rules ask the same again for every document.

    Answers are shared, so callers leave them as they are.
    """

    @wraps(compute)
    def remembered(release: Release) -> Answer:
        answers = release._answers  # noqa: SLF001  (a friend of the class: its memory is for this function only)
        if compute not in answers:
            answers[compute] = compute(release)
        return cast("Answer", answers[compute])

    return remembered


def has_labels(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether the `wanted` labels are among `labels`, as the selector of a Service asks; none are among any."""
    return all(labels.get(key) == value for key, value in wanted.items())


def selector_matches(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether a Kubernetes label selector (matchLabels and matchExpressions) selects `labels`.

    An empty selector selects everything, as in PodDisruptionBudget and NetworkPolicy of today.
    """
    if not isinstance(selector, Mapping):
        return False
    wanted = selector.get("matchLabels") or {}
    if not has_labels(labels, wanted):
        return False
    for expression in selector.get("matchExpressions") or []:
        key, operator, values = expression.get("key"), expression.get("operator"), expression.get("values") or []
        present = key in labels
        holds = {
            "In": present and labels[key] in values,
            "NotIn": not present or labels[key] not in values,
            "Exists": present,
            "DoesNotExist": not present,
        }.get(operator, False)
        if not holds:
            return False
    return True
