"""LLM359."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import CAPACITY_TYPE, Pool, gpu_pools_of, is_gpu_pool, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods, mismatches


@rule(id="LLM359", name="reservation-tried-last", severity=Severity.ERROR, kinds=("NodePool",))
def reservation_tried_last(document: Document, context: Context) -> Iterator[Finding]:
    """Nodes are bought before reserved ones are tried.

    What:
        A GPU pool names reserved capacity, and another pool without it takes the same pods and has a larger
        weight.

    Why it hurts:
        Karpenter tries the pool of larger weight first: it buys nodes while those of the reservation, which are
        paid for, stand idle.

    Bad:
        `weight: 10` for the pool with `karpenter.sh/capacity-type In [reserved]`, `weight: 50` for spot

    Good:
        `weight: 90` for the reserved pool

    References:
        https://karpenter.sh/docs/tasks/odcrs/
        https://karpenter.sh/docs/concepts/nodepools/#specweight
    """
    pool = pool_of(document, context.release)
    # Nodes of a static pool are there before anything is bought; it has no weight.
    if pool.static or not (_names_reserved(pool) and is_gpu_pool(pool)):
        return
    for other in gpu_pools_of(context.release):
        if other.weight <= pool.weight or other.static or _names_reserved(other):
            continue
        pods = [each for each in gpu_pods(context.release) if not mismatches(each, pool)]
        shared = [each for each in pods if not mismatches(each, other)]
        # Without pods (a platform), pools of the same labels are alternatives to each other.
        if shared or (not pods and other.labels == pool.labels):
            yield context.finding(
                document,
                f"has weight {pool.weight}, and NodePool {other.name!r} with weight {other.weight} buys before it",
                path="spec.weight",
                hint=f"give it a weight above {other.weight}",
            )


def _names_reserved(pool: Pool) -> bool:
    return CAPACITY_TYPE in pool.requirements and "reserved" in pool.capacity_types
