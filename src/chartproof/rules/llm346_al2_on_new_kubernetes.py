"""LLM346."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import NodeClass
from chartproof.release import Document, Release
from chartproof.rules.registry import Context, rule

#: First Kubernetes version without Amazon Linux 2 images on EKS.
_ENDED = (1, 33)


@rule(id="LLM346", name="al2-on-new-kubernetes", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def al2_on_new_kubernetes(document: Document, context: Context) -> Iterator[Finding]:
    """Nodes of Amazon Linux 2, for which no image exists any more.

    What:
        A node class has `amiFamily: AL2` or an `al2@...` alias, and Helm was not told of a Kubernetes version
        below 1.33.

    Why it hurts:
        EKS publishes no Amazon Linux 2 image for Kubernetes 1.33 and newer. The API server accepts the class,
        which never becomes ready.

    Bad:
        `alias: al2@latest`

    Good:
        `alias: al2023@v20260724`

    References:
        https://docs.aws.amazon.com/eks/latest/userguide/eks-ami-deprecation-faqs.html
    """
    if NodeClass(document).family == "al2" and not _older_kubernetes(context.release):
        yield context.finding(
            document,
            "there is no Amazon Linux 2 image for Kubernetes 1.33 and newer",
            path="spec.amiSelectorTerms" if NodeClass(document).alias else "spec.amiFamily",
            hint="use al2023 or bottlerocket",
        )


def _older_kubernetes(release: Release) -> bool:
    text = " ".join(release.argv)
    match = re.search(r"--kube-version[= ]v?(\d+)\.(\d+)", text)
    return match is not None and (int(match[1]), int(match[2])) < _ENDED
