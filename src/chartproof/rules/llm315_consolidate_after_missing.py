"""LLM315."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM315", name="consolidate-after-missing", severity=Severity.ERROR, kinds=("NodePool",))
def consolidate_after_missing(document: Document, context: Context) -> Iterator[Finding]:
    """A disruption block without consolidateAfter.

    What:
        `spec.disruption` is there and has no `consolidateAfter`.

    Why it hurts:
        Karpenter up to 1.14 requires the field as soon as the block exists: the API server refuses the
        NodePool. From 1.15 on it defaults to 0s, which moves pods at once.

    Bad:
        `disruption: {consolidationPolicy: WhenEmpty}`

    Good:
        `disruption: {consolidationPolicy: WhenEmpty, consolidateAfter: 10m}`

    References:
        https://karpenter.sh/docs/concepts/disruption/
    """
    disruption = document.get("spec", "disruption")
    if isinstance(disruption, Mapping) and disruption.get("consolidateAfter") is None:
        yield context.finding(
            document,
            "disruption has no consolidateAfter, which Karpenter up to 1.14 requires",
            path="spec.disruption",
            hint="add consolidateAfter: 10m",
        )
