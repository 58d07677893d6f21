"""LLM345."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import gpu_pools_of, is_gpu_pool, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods, mismatches


@rule(id="LLM345", name="equal-pool-weights", severity=Severity.NOTE, kinds=("NodePool",))
def equal_pool_weights(document: Document, context: Context) -> Iterator[Finding]:
    """Two pools that take the same pods have the same weight.

    What:
        A GPU pod of the release fits two pools with different capacity types or instance types and equal weight
        (0 where none is written). Static pools, which have no weight, are not meant.

    Why it hurts:
        Karpenter then chooses by name, not by the order that was meant: on-demand may be bought before spot.

    Bad:
        a spot and an on-demand pool, both without `weight`

    Good:
        `weight: 50` for spot, `weight: 10` for on-demand

    References:
        https://karpenter.sh/docs/concepts/nodepools/#specweight
    """
    pool = pool_of(document, context.release)
    for other in gpu_pools_of(context.release) if is_gpu_pool(pool) else ():
        if other.name <= pool.name or other.weight != pool.weight or pool.static or other.static:
            continue
        same = (other.capacity_types, other.instances) == (pool.capacity_types, pool.instances)
        shared = [
            each for each in gpu_pods(context.release) if not mismatches(each, pool) and not mismatches(each, other)
        ]
        if shared and not same:
            yield context.finding(
                document,
                f"has weight {pool.weight} like NodePool {other.name!r}, and {shared[0].document.identity} fits both",
                path="spec.weight",
                hint="give the pool that is to be tried first the larger weight",
            )
