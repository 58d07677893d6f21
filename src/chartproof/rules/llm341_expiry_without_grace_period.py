"""LLM341."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.languages.duration import DurationError, karpenter_seconds
from chartproof.pool import is_gpu_pool, pool_of
from chartproof.release import Document
from chartproof.rules._pods import grace_seconds
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods, mismatches, pins_for_ever


@rule(id="LLM341", name="expiry-without-grace-period", severity=Severity.WARNING, kinds=("NodePool",))
def expiry_without_grace_period(document: Document, context: Context) -> Iterator[Finding]:
    """Nodes expire, and their end is not tuned to the pods on them.

    What:
        Nodes of a pool expire (after 720h where nothing is said), pods that fit it carry
        `karpenter.sh/do-not-disrupt: "true"`, and the pool has no `terminationGracePeriod`; or the pool's
        `terminationGracePeriod` is shorter than the grace period of the pods (an error).

    Why it hurts:
        An expired node with such a pod stays half drained for ever and is paid for. A grace period of the node
        below that of the pods ends their running requests early.

    Bad:
        `expireAfter: 336h` without `terminationGracePeriod`, pods with do-not-disrupt

    Good:
        `terminationGracePeriod: 15m`, above the pods' own grace period

    References:
        https://karpenter.sh/docs/concepts/disruption/#terminationgraceperiod
    """
    pool = pool_of(document, context.release)
    if not is_gpu_pool(pool):
        return
    landing = [each for each in gpu_pods(context.release) if not mismatches(each, pool)]
    written = pool.template.get("terminationGracePeriod")
    if written is None:
        pinned = [each for each in landing if pins_for_ever(each.pod)]
        if pinned and pool.expire_after != "Never":
            yield context.finding(
                document,
                f"nodes expire after {pool.expire_after}, but {pinned[0].document.identity} is never disrupted: "
                "such a node stays half drained for ever",
                path="spec.template.spec",
                hint="add terminationGracePeriod: 15m (longer than the pods' own), or expireAfter: Never",
            )
        return
    try:
        seconds = karpenter_seconds(str(written))
    except DurationError:
        return
    for subject in landing:
        needed = grace_seconds(subject.pod)
        if seconds < needed:
            found = context.finding(
                document,
                f"terminationGracePeriod {written} is below the {needed} s grace period of {subject.document.identity}",
                path="spec.template.spec.terminationGracePeriod",
                hint=f"write at least {needed + 300}s",
            )
            yield replace(found, severity=Severity.ERROR)
