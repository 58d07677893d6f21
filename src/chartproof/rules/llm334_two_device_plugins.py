"""LLM334."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import gpu_pools_of
from chartproof.release import Document
from chartproof.rules._nodes import device_plugin_sources
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import GpuPod, agent_reaches, pod_requirements


@rule(id="LLM334", name="two-device-plugins", severity=Severity.ERROR, kinds=("DaemonSet", "ClusterPolicy"))
def two_device_plugins(document: Document, context: Context) -> Iterator[Finding]:
    """Two device plugins offer the GPUs of one node.

    What:
        The release has two device plugins (DaemonSets, or the GPU Operator's) for the same nodes, or one for
        nodes whose operating system has its own: Bottlerocket, EKS Auto Mode.

    Why it hurts:
        Both register `nvidia.com/gpu` with the kubelet. Which one wins changes with every restart, and GPUs are
        handed out twice or not at all.

    Bad:
        a k8s-device-plugin DaemonSet beside a Bottlerocket GPU pool

    Good:
        no device plugin on Bottlerocket

    References:
        https://github.com/bottlerocket-os/bottlerocket/issues/3992
        https://github.com/NVIDIA/k8s-device-plugin
    """
    sources = list(device_plugin_sources(context.release))
    own = next(((i, name) for i, (each, name) in enumerate(sources) if each is document), None)
    if own is None:
        return
    for other, name in sources[: own[0]]:
        if not _apart(other, document):
            yield context.finding(
                document,
                f"{own[1]} and {name} both run a device plugin on the same nodes",
                hint="keep one of them",
            )
    for pool in gpu_pools_of(context.release):
        system = "EKS Auto Mode" if pool.auto_mode else pool.node_class.family if pool.node_class else ""
        if system not in {"bottlerocket", "EKS Auto Mode"} or document.kind != "DaemonSet":
            continue
        pod = document.pod_template
        if pod is not None and agent_reaches(GpuPod(document, pod), pool):
            yield context.finding(
                document,
                f"runs a device plugin on nodes of NodePool {pool.name!r}, which have the one of {system}",
                hint="remove the DaemonSet, or keep it off that pool by a node selector",
            )


def _apart(one: Document, other: Document) -> bool:
    """Whether the node selectors of two DaemonSets can hold on no common node."""
    if one.pod_template is None or other.pod_template is None:
        return False
    return all(
        any(key in theirs and requirement.intersect(theirs[key]).empty for key, requirement in mine.items())
        for mine in pod_requirements(one.pod_template)
        for theirs in pod_requirements(other.pod_template)
    )
