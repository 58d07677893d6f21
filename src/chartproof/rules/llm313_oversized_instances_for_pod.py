"""LLM313."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import replica_range
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, types_of_pod

#: From here on a node is wasted whenever the fewest replicas run, which is most of the time.
_LARGE_SHARE = 4


@rule(
    id="LLM313",
    name="oversized-instances-for-pod",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"),
)
def oversized_instances_for_pod(document: Document, context: Context) -> Iterator[Finding]:
    """Every instance type that the pods may run on has more GPUs than they use.

    What:
        The smallest type that fits a GPU pod has at least four times its GPUs and the fewest replicas do not
        fill one node, or at least twice its GPUs and not even the most replicas do.

    Why it hurts:
        A node is paid as a whole: one GPU of an eight-GPU node costs what eight do.

    Bad:
        a pod with `nvidia.com/gpu: 1` and a pool of p5.48xlarge only

    Good:
        a pool that also allows p5.4xlarge, or `karpenter.k8s.aws/instance-gpu-count In ["1"]`

    References:
        https://karpenter.sh/docs/reference/instance-types/
    """
    for subject in gpu_pods_in(document):
        needs = subject.needs
        types = [
            each
            for pool in subject.placed_on(context.release)
            for each in types_of_pod(subject, pool)
            if needs.met_by(each)
        ]
        if not needs.gpus or not types or any(pool.names_unknown_types for pool in subject.placed_on(context.release)):
            continue
        smallest = min(types, key=lambda each: (each.gpu_count, each.usd_per_hour or float("inf")))
        replicas = replica_range(context.release, document)
        share = smallest.gpu_count / needs.gpus
        filling = max(1, replicas.fewest if share >= _LARGE_SHARE else replicas.most)
        if share >= 2 and share > filling:  # noqa: PLR2004 - half of the node
            yield context.finding(
                document,
                f"uses {filling * needs.gpus} of the {smallest.gpu_count} GPUs of {smallest.name}, the smallest type "
                "it may run on" + (f" ({smallest.usd_per_hour:g} USD/h)" if smallest.usd_per_hour else ""),
                path=subject.path("containers"),
                hint=f"allow a type with {needs.gpus} GPU(s)",
            )
