"""LLM003."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._pods import all_containers, volumes
from chartproof.rules._references import Reference, references
from chartproof.rules._selection import together
from chartproof.rules.registry import Context, rule

#: Two names this alike mean the same object, one of them misspelled.
_ALIKE = 0.8
#: Kinds that people commonly create beside a release, by hand or by an operator.
_OFTEN_OUTSIDE = frozenset({"Secret", "ClusterTriggerAuthentication"})


@rule(id="LLM003", name="dangling-reference", severity=Severity.ERROR)
def dangling_reference(document: Document, context: Context) -> Iterator[Finding]:
    """A document refers to an object that the release should define and does not.

    What:
        A ConfigMap, ServiceAccount, claim, Service, Role or TriggerAuthentication is named that no
        document defines, although the release shows that it was meant: it renders an object of that
        kind with a similar name, or one that nothing else refers to, or the name begins with that of
        the (Helm managed) document itself. Also: a key that the rendered ConfigMap or Secret lacks, and
        a mount of a volume that the pod does not have.

    Why it hurts:
        Pods stay in ContainerCreating or CreateContainerConfigError, an autoscaler stops with an
        authentication error, an ingress answers 503. Objects that exist outside the release are not
        reported.

    Bad:
        `claimName: model-wieghts` beside a PersistentVolumeClaim named `model-weights`.

    Good:
        The name as it is rendered.

    References:
        https://kubernetes.io/docs/tasks/configure-pod-container/configure-pod-configmap/
        https://keda.sh/docs/latest/concepts/authentication/
    """
    for each in references(document):
        if each.optional:
            continue
        known = [other for other in context.release.of_kind(each.kind) if together(context.release, document, other)]
        target = next((other for other in known if other.name == each.name), None)
        if target is not None:
            yield from _missing_key(document, each, target, context)
        elif _meant(document, each, known, context):
            names = ", ".join(sorted(other.name for other in known))
            yield context.finding(
                document,
                f"refers to {each.kind} {each.name!r}, which this release does not have",
                path=each.path,
                hint=f"rendered are: {names}" if names else f"render the {each.kind}, or name one that exists",
            )
    yield from _mounts_without_volume(document, context)


def _meant(document: Document, reference: Reference, known: list[Document], context: Context) -> bool:
    names = [other.name for other in known]
    if difflib.get_close_matches(reference.name, names, n=1, cutoff=_ALIKE):
        return True
    if reference.kind in _OFTEN_OUTSIDE:
        return False
    used = {(each.kind, each.name) for other in context.release.documents for each in references(other)}
    if reference.kind != "Service" and any((other.kind, other.name) not in used for other in known if _is_used(other)):
        return True
    managed = document.labels.get("app.kubernetes.io/managed-by") == "Helm" or bool(context.release.argv)
    return managed and (reference.name == document.name or reference.name.startswith(f"{document.name}-"))


def _is_used(document: Document) -> bool:
    """Whether something has to refer to it: a dashboard is found by its label instead."""
    return not any("grafana" in key or "dashboard" in key for key in document.labels)


def _missing_key(document: Document, reference: Reference, target: Document, context: Context) -> Iterator[Finding]:
    if not reference.key or target.kind not in {"ConfigMap", "Secret"}:
        return
    keys = {str(key) for field in ("data", "stringData", "binaryData") for key in (target.get(field, default={}) or {})}
    filled_later = target.kind == "Secret" and not keys
    if reference.key not in keys and not filled_later:
        known = ", ".join(sorted(keys)) or "none"
        yield context.finding(
            document,
            f"needs key {reference.key!r} of {target.kind} {target.name!r}, which has {known}",
            path=reference.path.rpartition(".")[0],
            hint="name a key that is there",
        )


def _mounts_without_volume(document: Document, context: Context) -> Iterator[Finding]:
    claims = {
        str(name)
        for path in (("spec",), ("spec", "leaderWorkerTemplate"))
        for template in document.get(*path, "volumeClaimTemplates", default=[]) or []
        if (name := (template.get("metadata") or {}).get("name"))
    }
    for pod in document.pod_templates:
        known = {*volumes(pod), *claims}
        for container, path in all_containers(pod):
            for i, mount in enumerate(container.get("volumeMounts") or []):
                if mount.get("name") not in known:
                    yield context.finding(
                        document,
                        f"container {container.get('name')!r} mounts volume {mount.get('name')!r}, which the pod lacks",
                        path=f"{path}.volumeMounts[{i}].name",
                        hint=f"add the volume, or name one of: {', '.join(sorted(known)) or 'none'}",
                    )
