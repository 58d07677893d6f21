"""LLM305."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM305", name="untainted-gpu-pool", severity=Severity.ERROR, kinds=("NodePool",))
def untainted_gpu_pool(document: Document, context: Context) -> Iterator[Finding]:
    """A GPU pool without a taint lets every pod in.

    What:
        A pool whose requirements allow only GPU instance types has no taint with effect NoSchedule or
        NoExecute.

    Why it hurts:
        Any pod without a GPU fits these nodes. Small pods keep a GPU node alive for ever, take CPU and memory
        that the engine was planned with, and Karpenter may launch GPU nodes for them.

    Bad:
        a pool with `karpenter.k8s.aws/instance-gpu-count Gt 0` and no `taints`

    Good:
        `taints: [{key: nvidia.com/gpu, value: "true", effect: NoSchedule}]`

    References:
        https://karpenter.sh/docs/concepts/nodepools/#spectemplatespectaints
        https://docs.aws.amazon.com/eks/latest/best-practices/aiml-compute.html
    """
    pool = pool_of(document, context.release)
    if pool.gpu_only and pool.on_known_cloud and not any(taint.repels for taint in pool.taints):
        kinds = ", ".join(each.name for each in pool.gpu_instances[:3]) or "GPU instances"
        yield context.finding(
            document,
            f"pods without GPU can land on its nodes ({kinds}): it has no taint that repels them",
            path="spec.template.spec.taints",
            hint='add {key: nvidia.com/gpu, value: "true", effect: NoSchedule}',
        )
