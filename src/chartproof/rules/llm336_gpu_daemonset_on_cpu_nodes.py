"""LLM336."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, PodTemplate, dig
from chartproof.rules._nodes import gpu_agent
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import pod_requirements

#: Labels that CPU nodes carry too.
_EVERYWHERE = frozenset({"kubernetes.io/os", "kubernetes.io/arch", "beta.kubernetes.io/os", "beta.kubernetes.io/arch"})


@rule(id="LLM336", name="gpu-daemonset-on-cpu-nodes", severity=Severity.ERROR, kinds=("DaemonSet",))
def gpu_daemonset_on_cpu_nodes(document: Document, context: Context) -> Iterator[Finding]:
    """NVIDIA's node software runs on nodes without a GPU.

    What:
        A DaemonSet of dcgm-exporter, the device plugin or GPU Feature Discovery has neither a node selector nor
        a required affinity that keeps it to GPU nodes. A device plugin told not to fail without a GPU
        (`FAIL_ON_INIT_ERROR=false`) is left out.

    Why it hurts:
        On CPU nodes it finds no driver and restarts for ever: alerts fire, and the DaemonSet never becomes
        ready, which holds up `helm install --wait`.

    Bad:
        a dcgm-exporter DaemonSet with tolerations only

    Good:
        `nodeSelector: {nvidia.com/gpu.present: "true"}`

    References:
        https://github.com/NVIDIA/dcgm-exporter
    """
    agent = gpu_agent(document)
    pod = document.pod_template
    if agent is None or pod is None:
        return
    if any(not set(alternative) - _EVERYWHERE for alternative in pod_requirements(pod)):
        if agent != "dcgm-exporter" and _stands_idle(pod):
            return
        yield context.finding(
            document,
            f"{agent} also runs on nodes without GPU: nothing restricts it to GPU nodes",
            path=pod.path_of("spec", "nodeSelector"),
            hint='add nodeSelector {nvidia.com/gpu.present: "true"} (with the label in the pool), or an affinity',
        )


def _stands_idle(pod: PodTemplate) -> bool:
    """Whether the device plugin waits on nodes without GPU instead of failing."""
    for container in pod.containers():
        for each in container.get("env") or []:
            if dig(each, "name") == "FAIL_ON_INIT_ERROR" and str(dig(each, "value")).lower() == "false":
                return True
        words = " ".join(str(word) for word in (container.get("command") or []) + (container.get("args") or []))
        if "--fail-on-init-error=false" in words:
            return True
    return False
