"""LLM308."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import Obstacle, blocked_by, gpu_pods_in


@rule(
    id="LLM308",
    name="instances-lack-needed-resources",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def instances_lack_needed_resources(document: Document, context: Context) -> Iterator[Finding]:
    """No instance type of the pools has what the pods ask for.

    What:
        A GPU pod fits no GPU pool of the release because no instance type that pod and pool allow has its GPUs,
        network adapters (EFA), CPU or memory. CPU and memory are what Karpenter plans with: the type's size
        less 7.5 % of the memory and what the kubelet keeps.

    Why it hurts:
        The pod stays Pending. The figures of a type's name are not available to pods: a pod that asks for 4 CPU
        and 16Gi never fits an xlarge.

    Bad:
        a pod with `nvidia.com/gpu: 4` and a pool of g6e.xlarge to g6e.4xlarge (one GPU each)

    Good:
        a pool that allows g6e.12xlarge

    References:
        https://karpenter.sh/docs/reference/instance-types/
    """
    for subject in gpu_pods_in(document):
        for pool, reason in blocked_by(subject, context.release, Obstacle.RESOURCE):
            yield context.finding(
                document,
                f"{reason.message} (NodePool {pool.name!r})",
                path=reason.path,
                hint=reason.hint,
            )
