"""LLM343."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM343", name="pool-without-limits", severity=Severity.WARNING, kinds=("NodePool",))
def pool_without_limits(document: Document, context: Context) -> Iterator[Finding]:
    """A GPU pool without limits.

    What:
        `spec.limits` of a GPU pool is empty.

    Why it hurts:
        A wrong formula, a retry storm or a stuck rollout orders GPU nodes until the account's quota ends it.

    Bad:
        no `limits`

    Good:
        `limits: {nvidia.com/gpu: 8}`

    References:
        https://karpenter.sh/docs/concepts/nodepools/#speclimits
    """
    pool = pool_of(document, context.release)
    if not pool.limits and not pool.static and pool.gpu_only:
        dearest = max((each.usd_per_hour or 0 for each in pool.gpu_instances), default=0)
        cost = f"; its dearest type costs {dearest:g} USD/h" if dearest else ""
        yield context.finding(
            document,
            f"orders GPU nodes without bound{cost}",
            path="spec.limits",
            hint="add limits: {nvidia.com/gpu: (most replicas + surge) x GPUs of a replica}",
        )
