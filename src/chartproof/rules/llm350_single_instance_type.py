"""LLM350."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import AWS_LABELS, CAPACITY_TYPE, INSTANCE_TYPE, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM350", name="single-instance-type", severity=Severity.NOTE, kinds=("NodePool",))
def single_instance_type(document: Document, context: Context) -> Iterator[Finding]:
    """A GPU pool can use a single instance type.

    What:
        Requirements leave exactly one GPU instance type, and no capacity reservation is meant.

    Why it hurts:
        When EC2 has no capacity of it in the zone, nothing starts. Another size or family of the same GPU
        helps.

    Bad:
        `{key: node.kubernetes.io/instance-type, operator: In, values: [g5.xlarge]}`

    Good:
        `values: [g5.xlarge, g5.2xlarge, g6.xlarge]`

    References:
        https://karpenter.sh/docs/concepts/scheduling/
    """
    pool = pool_of(document, context.release)
    reserved = CAPACITY_TYPE in pool.requirements and "reserved" in pool.capacity_types
    if len(pool.gpu_instances) == 1 and pool.gpu_only and not pool.names_unknown_types and not reserved:
        yield context.finding(
            document,
            f"allows only {pool.gpu_instances[0].name}: without capacity of it nothing starts",
            path=pool.requirement_path(INSTANCE_TYPE, AWS_LABELS + "instance-family", AWS_LABELS + "instance-size"),
            hint="allow a further size or family on which the model fits",
        )
