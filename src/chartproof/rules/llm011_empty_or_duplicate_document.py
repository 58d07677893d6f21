"""LLM011."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, rule

#: Kinds that have no name of their own.
_NAMELESS = frozenset({"List", "Kustomization", "Component"})
#: Groups of configuration files, which programs read and no API server stores.
_FILES = frozenset(
    {"audit.k8s.io", "kubelet.config.k8s.io", "kubeadm.k8s.io", "kind.x-k8s.io", "apiserver.config.k8s.io"}
)


@rule(id="LLM011", name="empty-or-duplicate-document", severity=Severity.ERROR)
def empty_or_duplicate_document(document: Document, context: Context) -> Iterator[Finding]:
    """A document is empty, incomplete, or there twice.

    What:
        A document without apiVersion, kind or name; or two documents of the same group, kind, namespace
        and name.

    Why it hurts:
        Helm refuses the release or, with plain manifests, the second document silently replaces the
        first: half of the settings are lost.

    Bad:
        A Service `vllm` for the API and another Service `vllm` for metrics.

    Good:
        One Service with two ports, or two names.

    References:
        https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
    """
    missing = [key for key in ("apiVersion", "kind") if not document.body.get(key)]
    nameless = document.kind in _NAMELESS or document.group in _FILES
    if not document.name and not document.get("metadata", "generateName") and not nameless:
        missing.append("metadata.name")
    if missing:
        yield context.finding(
            document,
            f"document {document.index + 1} has no {', no '.join(missing)}",
            hint="complete it, or guard the template so that it renders nothing at all",
        )
        return
    first = context.release.first_like(document)
    if document.name and first is not document:
        yield context.finding(
            document,
            f"is defined twice: documents {first.index + 1} and {document.index + 1} have the same identity",
            path="metadata.name",
            hint="give one of them another name, or merge them",
        )
