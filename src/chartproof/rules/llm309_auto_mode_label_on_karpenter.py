"""LLM309."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import AUTO_MODE_LABELS, AWS_LABELS, Pool, gpu_pools_of, pool_of
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, label_path, pod_requirements


@rule(
    id="LLM309",
    name="auto-mode-label-on-karpenter",
    severity=Severity.ERROR,
    kinds=("NodePool", "Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def auto_mode_label_on_karpenter(document: Document, context: Context) -> Iterator[Finding]:
    """Labels of EKS Auto Mode on self-managed Karpenter, or the other way round.

    What:
        A NodePool with an EC2NodeClass requires `eks.amazonaws.com/instance-...`, an Auto Mode pool requires
        `karpenter.k8s.aws/instance-...`, or a GPU pod selects by one family while all GPU pools of the release
        are of the other.

    Why it hurts:
        The API server accepts both. Self-managed Karpenter takes the foreign label for one of the user's, which
        no instance type has: nothing is launched.

    Bad:
        `{key: eks.amazonaws.com/instance-gpu-name, operator: In, values: [l4]}` with an EC2NodeClass

    Good:
        `{key: karpenter.k8s.aws/instance-gpu-name, operator: In, values: [l4]}`

    References:
        https://docs.aws.amazon.com/eks/latest/userguide/create-node-pool.html
        https://karpenter.sh/docs/concepts/scheduling/#labels
    """
    if document.kind == "NodePool":
        pool = pool_of(document, context.release)
        entries = dig(pool.template, "requirements", default=[]) or []
        for i, each in enumerate(entries):
            key = str(dig(each, "key", default=""))
            right = _right_label(key, pool)
            if right:
                yield context.finding(
                    document, _message(key, pool), path=f"{pool.path}[{i}].key", hint=f"write {right}"
                )
        return
    pools = gpu_pools_of(context.release)
    for subject in gpu_pods_in(document):
        keys = {key for alternative in pod_requirements(subject.pod) for key in alternative}
        for key in sorted(keys):
            if pools and all(_right_label(key, pool) for pool in pools):
                yield context.finding(
                    document,
                    _message(key, pools[0]),
                    path=label_path(subject.pod, key),
                    hint=f"write {_right_label(key, pools[0])}",
                )


def _right_label(key: str, pool: Pool) -> str:
    """The label that the pool's controller knows instead, empty where `key` is right."""
    if pool.on_ec2 and key.startswith(AUTO_MODE_LABELS + "instance-"):
        return AWS_LABELS + key.removeprefix(AUTO_MODE_LABELS)
    if pool.auto_mode and key.startswith(AWS_LABELS + "instance-"):
        return AUTO_MODE_LABELS + key.removeprefix(AWS_LABELS)
    return ""


def _message(key: str, pool: Pool) -> str:
    theirs, ours = (
        ("EKS Auto Mode", "self-managed Karpenter") if pool.on_ec2 else ("self-managed Karpenter", "EKS Auto Mode")
    )
    return f"{key} is a label of {theirs}; nodes of NodePool {pool.name!r} come from {ours} and never have it"
