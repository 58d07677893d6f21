"""LLM304."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import QuantityError, parse_quantity
from chartproof.pool import Pool, is_gpu_pool, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods, mismatches

_MEBIBYTE = 1024**2


@rule(id="LLM304", name="pool-nothing-lands-on", severity=Severity.ERROR, kinds=("NodePool",))
def pool_nothing_lands_on(document: Document, context: Context) -> Iterator[Finding]:
    """A node pool that no pod can land on.

    What:
        The limits of a GPU pool are smaller than its smallest instance type (error), or none of the release's
        GPU pods fits the pool while other pods of the release need GPUs (warning).

    Why it hurts:
        The pool never makes a node. A tier that was meant as fallback or as the cheap choice is not there when
        it is needed.

    Bad:
        `limits: {nvidia.com/gpu: "0"}`, or a spot pool beside pods that require `karpenter.sh/capacity-type: on-demand`

    Good:
        limits of at least one instance, and pods that the pool's labels and taints let in

    References:
        https://karpenter.sh/docs/concepts/nodepools/#speclimits
    """
    pool = pool_of(document, context.release)
    if not is_gpu_pool(pool) or pool.static:
        return
    for resource, limit, least, kind in _exhausted(pool):
        yield context.finding(
            document,
            f"limit {resource}={limit} is below the smallest allowed type, {kind}, which has {least:g}",
            path=f"spec.limits.{resource}",
            hint="raise the limit to (most replicas + surge) of what a node has",
        )
    subjects = gpu_pods(context.release)
    reasons = [mismatches(each, pool) for each in subjects]
    if subjects and all(reasons):
        nearest = min(reasons, key=len)
        found = context.finding(
            document,
            f"no GPU pod of the release can land here; the nearest {nearest[0].message}",
            hint="let the pods tolerate and select the pool, or remove it",
        )
        yield replace(found, severity=Severity.WARNING)


def _exhausted(pool: Pool) -> Iterator[tuple[str, str, float, str]]:
    if not pool.gpu_instances or pool.names_unknown_types:
        return
    for resource, limit in pool.limits.items():
        try:
            most = parse_quantity(limit)
        except QuantityError:
            continue
        sizes = {
            "cpu": [(each.vcpu, each.name) for each in pool.gpu_instances],
            "memory": [(each.memory_mebibytes * _MEBIBYTE, each.name) for each in pool.gpu_instances],
            "nvidia.com/gpu": [(each.gpu_count, each.name) for each in pool.gpu_instances],
            "nodes": [(1, "one node")],
        }.get(resource)
        if sizes and most < min(sizes)[0]:
            yield resource, str(limit), min(sizes)[0], min(sizes)[1]
