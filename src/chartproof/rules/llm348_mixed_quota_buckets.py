"""LLM348."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import AWS_LABELS, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM348", name="mixed-quota-buckets", severity=Severity.WARNING, kinds=("NodePool",))
def mixed_quota_buckets(document: Document, context: Context) -> Iterator[Finding]:
    """A pool mixes instance types of different quotas.

    What:
        Requirements of a GPU pool allow both G (and VT) and P types.

    Why it hurts:
        EC2 has separate vCPU quotas for them, and prices that differ tenfold. When the G types run out, the
        pool buys a P node for a small model; its GPU limit is reached where no quota stands behind it.

    Bad:
        `{key: karpenter.k8s.aws/instance-category, operator: In, values: [g, p]}`

    Good:
        a pool per category

    References:
        https://docs.aws.amazon.com/ec2/latest/instancetypes/ec2-instance-quotas.html
    """
    pool = pool_of(document, context.release)
    if not pool.gpu_only:
        return
    buckets = {each.family[0]: each for each in reversed(pool.gpu_instances)}
    if {"g", "p"} <= buckets.keys():
        yield context.finding(
            document,
            "allows G and P types, which have separate quotas: "
            + " and ".join(
                f"{each.name}" + (f" at {each.usd_per_hour:g} USD/h" if each.usd_per_hour else "")
                for each in (buckets["g"], buckets["p"])
            ),
            path=pool.requirement_path(AWS_LABELS + "instance-category", AWS_LABELS + "instance-family"),
            hint="make a pool for each",
        )
