"""LLM339."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import gpu_pools_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import pod_requirements


@rule(
    id="LLM339",
    name="dra-with-karpenter",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def dra_with_karpenter(document: Document, context: Context) -> Iterator[Finding]:
    """GPUs by resource claim on nodes that Karpenter makes.

    What:
        A pod asks for devices by `resourceClaims` and is meant for Karpenter's nodes: the release has GPU
        pools, or the pod selects Karpenter's labels.

    Why it hurts:
        Karpenter up to 1.15 ignores claims and publishes no devices of nodes to come: it launches nothing, or a
        node without GPU.

    Bad:
        `resourceClaims: [{name: gpu, resourceClaimTemplateName: single-gpu}]`

    Good:
        `limits: {nvidia.com/gpu: 1}`

    References:
        https://github.com/aws/karpenter-provider-aws/issues/9519
        https://github.com/kubernetes-sigs/karpenter/issues/3228
    """
    pools = gpu_pools_of(context.release)
    for pod in document.pod_templates:
        selects = any(
            "karpenter" in key.partition("/")[0] for alternative in pod_requirements(pod) for key in alternative
        )
        if pod.spec.get("resourceClaims") and (pools or selects):
            yield context.finding(
                document,
                "asks for devices by resource claim, for which Karpenter makes no nodes",
                path=pod.path_of("spec", "resourceClaims"),
                hint="ask for nvidia.com/gpu in the container's limits",
            )
