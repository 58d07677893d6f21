"""LLM312."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import AWS_LABELS, INSTANCE_TYPE, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM312", name="fractional-gpu-instance", severity=Severity.ERROR, kinds=("NodePool",))
def fractional_gpu_instance(document: Document, context: Context) -> Iterator[Finding]:
    """A GPU pool names instance types that offer no whole GPU.

    What:
        A pool names a family or type of fractional GPUs (g6f, gr6f), or matches nothing else.

    Why it hurts:
        EC2 reports no GPU for these types, so Karpenter counts no `nvidia.com/gpu` on them: it never launches
        them for an engine, but may for pods without GPU.

    Bad:
        `{key: karpenter.k8s.aws/instance-family, operator: In, values: [g6, g6f]}`

    Good:
        `{key: karpenter.k8s.aws/instance-family, operator: In, values: [g6]}`

    References:
        https://github.com/aws/karpenter-provider-aws/issues/8368
    """
    pool = pool_of(document, context.release)
    fractional = {each.name for each in pool.instances if not each.gpu_count}
    if not fractional or not pool.gpu_only:
        return
    families = {name.partition(".")[0] for name in fractional}
    named = set()
    for key in (AWS_LABELS + "instance-family", INSTANCE_TYPE):
        requirement = pool.requirements.get(key)
        named |= set(requirement.named or ()) if requirement is not None else set()
    guilty = sorted(named & (families | fractional)) or ([] if pool.gpu_instances else sorted(families))
    if guilty:
        yield context.finding(
            document,
            f"{', '.join(guilty)} have fractional GPUs, for which Karpenter counts no nvidia.com/gpu",
            path=pool.requirement_path(AWS_LABELS + "instance-family", INSTANCE_TYPE),
            hint="leave them out, or require karpenter.k8s.aws/instance-gpu-count Gt 0",
        )
