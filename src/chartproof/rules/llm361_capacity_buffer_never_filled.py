"""LLM361."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, rule

#: What Karpenter 1.14 resolves (`pkg/utils/apps/resolve.go`); an empty group means apps.
_GROUPS = ("", "apps")
_KINDS = ("Deployment", "StatefulSet", "ReplicaSet")
_STRATEGY = "buffer.x-k8s.io/active-capacity"


@rule(id="LLM361", name="capacity-buffer-never-filled", severity=Severity.ERROR, kinds=("CapacityBuffer",))
def capacity_buffer_never_filled(document: Document, context: Context) -> Iterator[Finding]:
    """A CapacityBuffer that Karpenter makes no node for.

    What:
        The buffer refers to no workload, to one of a kind that Karpenter does not resolve (it knows Deployment,
        StatefulSet and ReplicaSet of `apps`), to one that the release does not bring, or asks for a strategy
        other than `buffer.x-k8s.io/active-capacity`.

    Why it hurts:
        The API server takes it, its condition ReadyForProvisioning stays False, and the node that was to stand
        ready never comes: the next replica waits as long as before.

    Bad:
        `scalableRef: {apiGroup: leaderworkerset.x-k8s.io, kind: LeaderWorkerSet, name: engine}`

    Good:
        `scalableRef: {apiGroup: apps, kind: Deployment, name: engine}`

    References:
        https://github.com/kubernetes-sigs/karpenter/blob/main/designs/capacity-buffers.md
    """
    strategy = document.get("spec", "provisioningStrategy") or _STRATEGY
    if strategy != _STRATEGY:
        yield context.finding(
            document,
            f"Karpenter has no strategy {strategy!r}",
            path="spec.provisioningStrategy",
            hint=f"write {_STRATEGY}",
        )
    reference = document.get("spec", "scalableRef") or {}
    template = document.get("spec", "podTemplateRef") or {}
    if not reference and not template:
        yield context.finding(document, "refers to no workload", path="spec", hint="add scalableRef")
        return
    kinds: tuple[str, ...] = _KINDS
    what = reference
    if template:
        kinds, what = ("PodTemplate",), {"kind": "PodTemplate", **template}
    kind, name = str(what.get("kind")), str(what.get("name"))
    path = "spec.podTemplateRef" if template else "spec.scalableRef"
    if kind not in kinds or str(what.get("apiGroup") or "") not in _GROUPS:
        yield context.finding(
            document,
            f"Karpenter does not know the shape of pods of {kind}.{what.get('apiGroup') or ''}".rstrip("."),
            path=path,
            hint=f"refer to a {' or '.join(_KINDS)} of apps",
        )
        return
    found = context.release.find(kind, name)
    if found is None or (found.namespace or context.release.namespace) != (
        document.namespace or context.release.namespace
    ):
        yield context.finding(
            document,
            f"there is no {kind} {name!r} in its namespace",
            path=path,
            hint="name the workload that the node is to stand ready for",
        )
