"""LLM363."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.catalog import catalog
from chartproof.findings import Finding, Severity
from chartproof.plan.candidates import candidate_instances, cut
from chartproof.pool import gpu_pools_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, pod_requirements
from chartproof.workload import MIG_PREFIX


@rule(
    id="LLM363",
    name="mig-slice-nobody-offers",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def mig_slice_nobody_offers(document: Document, context: Context) -> Iterator[Finding]:
    """A slice of a GPU (MIG) is asked for where no node will have one.

    What:
        A pod asks for `nvidia.com/mig-<profile>` and is meant for Karpenter's nodes (the release has GPU pools,
        or the pod selects Karpenter's labels), or for instance types whose GPUs have no such slices.

    Why it hurts:
        Karpenter plans with what EC2 says about a type, which is whole GPUs: it finds no type that offers the
        slice and launches nothing. Where nodes are there, the plugin of another GPU offers other profiles. In
        both cases the pod stays Pending for ever.

    Bad:
        `nvidia.com/mig-1g.10gb: 1` on nodes of type p4d.24xlarge, whose A100 of 40 GB has slices of 5 GB

    Good:
        `nvidia.com/mig-1g.5gb: 1` there, in a node group whose GPUs are cut

    References:
        https://docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html
        https://karpenter.sh/docs/concepts/scheduling/#acceleratorsgpu-resources
    """
    for subject in gpu_pods_in(document):
        profile = subject.mig_profile
        if not profile:
            continue
        path = subject.path("containers")
        selects = any("karpenter" in key.partition("/")[0] for each in pod_requirements(subject.pod) for key in each)
        if gpu_pools_of(context.release) or selects:
            yield context.finding(
                document,
                f"asks for {MIG_PREFIX}{profile}, and Karpenter makes no nodes for slices of a GPU",
                path=path,
                hint="ask for nvidia.com/gpu, or use nodes that something else makes",
            )
            continue
        candidates = candidate_instances(subject.pod, context.release, catalog(), gpus=1)
        if candidates and not cut(candidates, profile, catalog()):
            names = ", ".join(each.name for each in candidates[:3])
            yield context.finding(
                document,
                f"asks for {MIG_PREFIX}{profile}, and the GPUs of {names} have no such slices",
                path=path,
                hint="ask for a profile of these GPUs, or select other nodes",
            )
