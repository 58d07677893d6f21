"""LLM357."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule

#: Source: validation rules of the EC2NodeClass CRD of Karpenter's AWS provider 1.14.
_FAMILIES = ("al2", "al2023", "bottlerocket", "windows2019", "windows2022", "windows2025")
_ALIAS = re.compile(r"[a-zA-Z0-9]+@.+")
_VERSIONS = {
    "bottlerocket": (re.compile(r"latest|v?\d+\.\d+\.\d+"), "bottlerocket@v1.64.0"),
    "al2023": (re.compile(r"latest|v?\d{8}"), "al2023@v20260724"),
}


@rule(id="LLM357", name="node-class-refused", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def node_class_refused(document: Document, context: Context) -> Iterator[Finding]:
    """An EC2NodeClass that the API server refuses, or whose image does not exist.

    What:
        An AMI alias that is not `family@version` of a known family (there is no `bottlerocket-nvidia`: the
        variant follows the instance type) or has a version of another form, an alias beside other terms, no
        alias and no `amiFamily`, not exactly one of `role` and `instanceProfile`, or a volume without size and
        snapshot.

    Why it hurts:
        These are validation rules of the resource, which no schema shows: installation stops at this object, or
        the class never becomes ready.

    Bad:
        `alias: bottlerocket-nvidia@v1.64.0`

    Good:
        `alias: bottlerocket@v1.64.0`

    References:
        https://karpenter.sh/docs/concepts/nodeclasses/
    """
    yield from _images(document, context)
    given = [name for name in ("role", "instanceProfile") if document.get("spec", name)]
    if len(given) != 1:
        yield context.finding(
            document,
            "has both role and instanceProfile" if given else "has neither role nor instanceProfile",
            path="spec.role",
            hint="write exactly one of them",
        )
    for i, mapping in enumerate(document.get("spec", "blockDeviceMappings", default=[]) or []):
        ebs = dig(mapping, "ebs", default={})
        if ebs and not ebs.get("volumeSize") and not ebs.get("snapshotID"):
            yield context.finding(
                document,
                f"volume {dig(mapping, 'deviceName')} has neither volumeSize nor snapshotID",
                path=f"spec.blockDeviceMappings[{i}].ebs",
                hint="add volumeSize",
            )


def _images(document: Document, context: Context) -> Iterator[Finding]:
    terms = document.get("spec", "amiSelectorTerms", default=[]) or []
    aliases = [(i, str(term["alias"])) for i, term in enumerate(terms) if term.get("alias")]
    if not aliases and not document.get("spec", "amiFamily"):
        yield context.finding(
            document,
            "has no alias and no amiFamily, so Karpenter cannot know how to start its nodes",
            path="spec.amiSelectorTerms",
            hint="write an alias such as bottlerocket@v1.64.0, or add amiFamily",
        )
    for i, alias in aliases:
        path = f"spec.amiSelectorTerms[{i}].alias"
        family, _, version = alias.partition("@")
        if not _ALIAS.fullmatch(alias) or family.lower() not in _FAMILIES:
            yield context.finding(
                document,
                f"{alias!r} is no alias of a known family",
                path=path,
                hint=f"write family@version, with one of {', '.join(_FAMILIES)}",
            )
        elif family in _VERSIONS and not _VERSIONS[family][0].fullmatch(version):
            yield context.finding(
                document,
                f"{version!r} is no version of {family}",
                path=path,
                hint=f"write it like {_VERSIONS[family][1]}",
            )
        told = str(document.get("spec", "amiFamily", default="Custom"))
        if told not in {"Custom", ""} and told.lower() != family.lower():
            yield context.finding(
                document,
                f"amiFamily {told} does not go with {alias!r}",
                path="spec.amiFamily",
                hint="remove amiFamily: the alias says it",
            )
        if len(terms) > 1 or set(terms[i]) - {"alias"}:
            yield context.finding(
                document, "an alias stands alone among the selector terms", path=path, hint="remove the other terms"
            )
