"""LLM335."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import Pool, gpu_pools_of
from chartproof.release import Document
from chartproof.rules._nodes import gpu_agent, runs_feature_discovery
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import GpuPod, labels_allow, node_agent_fits, pod_requirements


@rule(id="LLM335", name="gpu-daemonset-misses-pool", severity=Severity.ERROR, kinds=("DaemonSet", "ClusterPolicy"))
def gpu_daemonset_misses_pool(document: Document, context: Context) -> Iterator[Finding]:
    """NVIDIA's node software cannot land on the GPU pool.

    What:
        A DaemonSet of the device plugin, dcgm-exporter, GPU Feature Discovery or Node Feature Discovery does
        not tolerate the taints of a GPU pool, or selects labels that no GPU pool has; or the GPU Operator's
        operands (`daemonsets.tolerations`) do not.

    Why it hurts:
        Without the device plugin the nodes offer no GPU and pods wait for ever; without the exporter there are
        no GPU metrics and every GPU alert is silent.

    Bad:
        a dcgm-exporter without tolerations beside a pool with taint `nvidia.com/gpu`

    Good:
        `tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]`

    References:
        https://github.com/NVIDIA/dcgm-exporter
        https://github.com/NVIDIA/gpu-operator
    """
    pools = gpu_pools_of(context.release)
    if document.kind == "ClusterPolicy":
        yield from _operands(document, context, pools)
        return
    agent = gpu_agent(document) or ("Node Feature Discovery" if runs_feature_discovery(document) else None)
    pod = document.pod_template
    if agent is None or pod is None or not pools:
        return
    subject = GpuPod(document, pod)
    meant = [pool for pool in pools if labels_allow(subject, pool)]
    if not meant and agent != "Node Feature Discovery":
        keys = sorted({key for alternative in pod_requirements(pod) for key in alternative})
        yield context.finding(
            document,
            f"{agent} selects nodes by {', '.join(keys)}, and no GPU pool of the release has such nodes",
            path=pod.path_of("spec", "nodeSelector" if pod.spec.get("nodeSelector") else "affinity"),
            hint="select labels that the pool's template sets",
        )
    for pool in meant:
        own = pool.auto_mode or (pool.node_class is not None and pool.node_class.family == "bottlerocket")
        if agent == "device plugin" and own:
            continue
        for taint in node_agent_fits(pod, pool):
            yield context.finding(
                document,
                f"{agent} does not tolerate taint {taint} of GPU pool {pool.name!r} and never runs there",
                path=pod.path_of("spec", "tolerations"),
                hint=f"add {{key: {taint.key}, operator: Exists, effect: {taint.effect}}}",
            )


def _operands(document: Document, context: Context, pools: list[Pool]) -> Iterator[Finding]:
    default = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    tolerations = document.get("spec", "daemonsets", "tolerations", default=default) or default
    for pool in pools:
        for taint in pool.taints:
            if taint.repels and not any(taint.tolerated_by(each) for each in tolerations):
                yield context.finding(
                    document,
                    f"the operator's DaemonSets do not tolerate taint {taint} of GPU pool {pool.name!r}",
                    path="spec.daemonsets.tolerations",
                    hint=f"add {{key: {taint.key}, operator: Exists, effect: {taint.effect}}}",
                )
