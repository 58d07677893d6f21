"""LLM314."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule

_KINDS = {"EC2NodeClass": "karpenter.k8s.aws", "NodeClass": "eks.amazonaws.com"}
_ALIKE = 0.8


@rule(id="LLM314", name="node-class-reference-broken", severity=Severity.ERROR, kinds=("NodePool",))
def node_class_reference_broken(document: Document, context: Context) -> Iterator[Finding]:
    """A node pool refers to a node class that is not there.

    What:
        `nodeClassRef` lacks group, kind or name, joins a kind and a group that do not belong together, or names
        a class that the release does not have although it renders node classes that nobody else uses or that
        are named alike. Classes that exist outside the release are not reported.

    Why it hurts:
        The NodePool is not Ready, and Karpenter ignores it without launching anything.

    Bad:
        `nodeClassRef: {kind: EC2NodeClass, name: gpu}`

    Good:
        `nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: gpu}`

    References:
        https://karpenter.sh/docs/concepts/nodepools/#spectemplatespecnodeclassref
    """
    reference = document.get("spec", "template", "spec", "nodeClassRef", default={}) or {}
    path = "spec.template.spec.nodeClassRef"
    missing = [key for key in ("group", "kind", "name") if not dig(reference, key)]
    if missing:
        yield context.finding(
            document,
            f"nodeClassRef has no {' and no '.join(missing)}",
            path=path,
            hint="write {group: karpenter.k8s.aws, kind: EC2NodeClass, name: ...}",
        )
        return
    kind, group, name = (str(reference[key]) for key in ("kind", "group", "name"))
    if kind in _KINDS and group != _KINDS[kind]:
        yield context.finding(
            document, f"kind {kind} is not of group {group!r}", path=f"{path}.group", hint=f"write {_KINDS[kind]}"
        )
        return
    known = {each.name for each in context.release.of_kind(kind)}
    used = {
        str(each.get("spec", "template", "spec", "nodeClassRef", "name"))
        for each in context.release.of_kind("NodePool")
    }
    if name not in known and (known - used or difflib.get_close_matches(name, known, n=1, cutoff=_ALIKE)):
        yield context.finding(
            document,
            f"refers to {kind} {name!r}, which this release does not have",
            path=f"{path}.name",
            hint=f"rendered are: {', '.join(sorted(known))}",
        )
