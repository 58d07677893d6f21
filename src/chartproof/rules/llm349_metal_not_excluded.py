"""LLM349."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import AWS_LABELS, INSTANCE_TYPE, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM349", name="metal-not-excluded", severity=Severity.WARNING, kinds=("NodePool",))
def metal_not_excluded(document: Document, context: Context) -> Iterator[Finding]:
    """A GPU pool may pick bare metal.

    What:
        Requirements allow a metal size that nobody named. EKS Auto Mode, which chooses by itself, is left out.

    Why it hurts:
        Bare metal takes ten minutes and more to boot, and is the dearest size of its family. Karpenter was seen
        to place a pod of one GPU on g4dn.metal with its eight.

    Bad:
        `{key: karpenter.k8s.aws/instance-family, operator: In, values: [g4dn]}` alone

    Good:
        also `{key: karpenter.k8s.aws/instance-size, operator: NotIn, values: [metal]}`

    References:
        https://karpenter.sh/docs/reference/instance-types/
    """
    pool = pool_of(document, context.release)
    types = pool.requirements.get(INSTANCE_TYPE)
    named = (types.named or frozenset()) if types is not None else frozenset()
    metal = [each.name for each in pool.gpu_instances if ".metal" in each.name and each.name not in named]
    sizes = pool.requirements.get(AWS_LABELS + "instance-size")
    meant = sizes is not None and any("metal" in value for value in sizes.named or ())
    if metal and pool.gpu_only and not pool.auto_mode and not meant:
        yield context.finding(
            document,
            f"allows {', '.join(metal)}, which boot for ten minutes and more",
            path=pool.requirement_path(AWS_LABELS + "instance-size", AWS_LABELS + "instance-family"),
            hint="add {key: karpenter.k8s.aws/instance-size, operator: NotIn, values: [metal]}",
        )
