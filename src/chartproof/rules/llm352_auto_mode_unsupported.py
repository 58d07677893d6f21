"""LLM352."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import AUTO_MODE_GROUP, gpu_pools_of
from chartproof.release import Document
from chartproof.rules._nodes import gpu_agent, gpu_operators
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import GpuPod, agent_reaches

#: Fields of EC2NodeClass that Auto Mode's NodeClass does not have.
_FIELDS = (
    "amiFamily",
    "amiSelectorTerms",
    "userData",
    "blockDeviceMappings",
    "instanceStorePolicy",
    "kubelet",
    "metadataOptions",
    "detailedMonitoring",
    "associatePublicIPAddress",
)


@rule(
    id="LLM352",
    name="auto-mode-unsupported",
    severity=Severity.ERROR,
    kinds=("NodeClass", "DaemonSet", "ClusterPolicy"),
)
def auto_mode_unsupported(document: Document, context: Context) -> Iterator[Finding]:
    """EKS Auto Mode is asked for what it does not offer.

    What:
        A NodeClass of `eks.amazonaws.com` has fields of an EC2NodeClass (images, user data, volumes), or the
        release brings a device plugin or the GPU Operator to Auto Mode nodes.

    Why it hurts:
        Auto Mode runs its own images with driver, device plugin and fast pull built in. Unknown fields are
        refused, and a second device plugin takes the GPUs away from the first.

    Bad:
        `kind: NodeClass` with `userData`

    Good:
        `spec.ephemeralStorage: {size: 200Gi}`; images and user data need self-managed Karpenter

    References:
        https://docs.aws.amazon.com/eks/latest/userguide/create-node-class.html
        https://docs.aws.amazon.com/eks/latest/userguide/auto-accelerated.html
    """
    release = context.release
    if document.kind == "NodeClass":
        if document.group == AUTO_MODE_GROUP:
            for name in _FIELDS:
                if document.get("spec", name) is not None:
                    yield context.finding(
                        document,
                        f"Auto Mode's NodeClass has no {name}",
                        path=f"spec.{name}",
                        hint="remove it, or use Karpenter with an EC2NodeClass",
                    )
        return
    auto = [pool for pool in gpu_pools_of(release) if pool.auto_mode]
    if document.kind == "ClusterPolicy" and document in gpu_operators(release):
        if auto and document.get("spec", "devicePlugin", "enabled", default=True) is not False:
            yield context.finding(
                document,
                "the operator's device plugin would run beside that of EKS Auto Mode",
                path="spec.devicePlugin.enabled",
                hint="write false",
            )
        return
    pod = document.pod_template
    if pod is not None and gpu_agent(document) == "device plugin":
        for pool in auto:
            if agent_reaches(GpuPod(document, pod), pool):
                yield context.finding(
                    document,
                    f"nodes of NodePool {pool.name!r} are Auto Mode's, which have their own device plugin",
                    hint="remove the DaemonSet",
                )
