"""LLM344."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import CAPACITY_TYPE, gpu_pools_of, is_gpu_pool, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods, mismatches


@rule(id="LLM344", name="spot-without-fallback", severity=Severity.WARNING, kinds=("NodePool",))
def spot_without_fallback(document: Document, context: Context) -> Iterator[Finding]:
    """GPU pods can run on spot capacity only.

    What:
        A GPU pool buys only spot, and no other GPU pool of the release gives the same pods on-demand or
        reserved nodes.

    Why it hurts:
        Spot GPU capacity runs out for hours. Then nothing starts, and interrupted replicas are not replaced.

    Bad:
        one pool with `karpenter.sh/capacity-type In [spot]`

    Good:
        `In [spot, on-demand]`, or a second pool of lower weight with on-demand

    References:
        https://karpenter.sh/docs/concepts/nodepools/#capacity-type
    """
    pool = pool_of(document, context.release)
    pools = gpu_pools_of(context.release)
    if pool.capacity_types != {"spot"} or not is_gpu_pool(pool):
        return
    steady = [each for each in pools if each.capacity_types - {"spot"}]
    subjects = [each for each in gpu_pods(context.release) if not mismatches(each, pool)]
    if subjects:
        lost = [each for each in subjects if not any(not mismatches(each, other) for other in steady)]
        if not lost:
            return
        who = lost[0].document.identity
    elif steady:
        return
    else:
        who = "whatever runs here"
    yield context.finding(
        document,
        f"buys only spot capacity, and {who} has no pool with on-demand or reserved nodes",
        path=pool.requirement_path(CAPACITY_TYPE),
        hint="allow on-demand too, or add an on-demand pool of lower weight",
    )
