"""LLM303."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import Obstacle, blocked_by, gpu_pods_in


@rule(
    id="LLM303",
    name="selector-no-pool-satisfies",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def selector_no_pool_satisfies(document: Document, context: Context) -> Iterator[Finding]:
    """A node selector or required affinity asks for labels that nodes of no pool have.

    What:
        A GPU pod fits no GPU pool of the release, and on the nearest pools the node selector or the required
        node affinity is in the way: a label that the pool's template does not set, another value, or instance
        types that the pool does not allow.

    Why it hurts:
        Karpenter only creates nodes whose labels it can promise. The pods stay Pending with "incompatible
        requirements" in its log.

    Bad:
        `nodeSelector: {nvidia.com/gpu.product: NVIDIA-L4}` with a pool that sets no such label

    Good:
        `nodeSelector: {karpenter.k8s.aws/instance-gpu-name: l4}`, or the label in `spec.template.metadata.labels` of
        the pool

    References:
        https://karpenter.sh/docs/concepts/scheduling/#selecting-nodes
    """
    for subject in gpu_pods_in(document):
        for pool, reason in blocked_by(subject, context.release, Obstacle.LABEL):
            yield context.finding(
                document,
                f"{reason.message} (NodePool {pool.name!r}): its pods stay Pending",
                path=reason.path,
                hint=reason.hint,
            )
