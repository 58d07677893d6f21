"""Nodes that somebody else runs: those that a release's GPU pods select and no NodePool makes.

A managed node group, or machines in a cellar. The embedded cluster supplies them in their owners' place, as it supplies
Secrets that a release takes for granted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from chartproof.autoscaler import autoscalers
from chartproof.catalog import Instance, catalog
from chartproof.cluster import placement
from chartproof.cluster.objects import INSTANCE_TYPE, ZONES, node_for
from chartproof.cluster.placement import Body, Placement
from chartproof.release import Release, dig
from chartproof.scheduling import GpuPod, gpu_pods_in
from chartproof.workload import GPU_RESOURCE, MIG_PREFIX

#: What device plugins and exporters look for where no feature discovery labels the nodes.
GPU_PRESENT = "nvidia.com/gpu.present"
MOST_NODES = 10
"""More are not made: a scenario asks for no more replicas."""


def standing_nodes(release: Release, pools: Iterable[Body]) -> list[dict[str, Any]]:
    """The nodes for every GPU workload that none of the NodePools (the release's and `pools`) makes nodes for.

    As many as the most replicas and one for a rolling update need. None where the pods do not say which instance types
    they may run on.
    """
    offered = [_labels_of(each) for each in (*(each.body for each in release.of_kind("NodePool")), *pools)]
    found = []
    for subject in (pod for document in release.workloads for pod in gpu_pods_in(document)):
        wanted = dict(subject.pod.spec.get("nodeSelector") or {})
        instance = _instance(subject)
        if instance is None or not wanted or any(wanted.items() <= labels.items() for labels in offered):
            continue
        found += [_node(subject, instance, wanted, number) for number in range(_most(release, subject) + 1)]
    return found


def _labels_of(pool: Body) -> Mapping[str, str]:
    return dict(dig(pool, "spec", "template", "metadata", "labels", default={}))


def _instance(subject: GpuPod) -> Instance | None:
    """The first of the instance types that the pod's affinity names."""
    known = [catalog().instances[name] for name in _named(subject, INSTANCE_TYPE) if name in catalog().instances]
    return known[0] if known else None


def _named(subject: GpuPod, label: str) -> Sequence[str]:
    """The values of a label that the pod's affinity names."""
    terms = dig(
        subject.pod.spec,
        *("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"),
        default=[],
    )
    for each in _expressions(terms):
        if each.get("key") == label and each.get("operator") == "In":
            return list(each["values"])
    return []


def _expressions(terms: Iterable[Body]) -> Iterator[Body]:
    for term in terms:
        yield from term.get("matchExpressions") or ()


def _most(release: Release, subject: GpuPod) -> int:
    """Most replicas of the pod's workload, within reason."""
    document = subject.document
    for each in autoscalers(release):
        if (each.target_kind, each.target_name) == (document.kind, document.name) and each.maximum:
            return min(each.maximum, MOST_NODES)
    return min(int(document.get("spec", "replicas", default=1)), MOST_NODES)


def _node(subject: GpuPod, instance: Instance, wanted: Mapping[str, str], number: int) -> dict[str, Any]:
    zones = _named(subject, placement.ZONE) or ZONES
    labels = {
        **wanted,
        INSTANCE_TYPE: instance.name,
        GPU_PRESENT: "true",
        "kubernetes.io/arch": instance.architecture,
        "kubernetes.io/os": "linux",
        placement.ZONE: zones[number % len(zones)],
        "topology.kubernetes.io/region": ZONES[0][:-1],
    }
    taints = tuple(
        {"key": each["key"], "value": each.get("value", ""), "effect": each["effect"]}
        for each in subject.tolerations
        if each.get("key") and each.get("effect")
    )
    chosen = Placement(
        f"standing-{subject.document.name}", instance, "on-demand", labels[placement.ZONE], labels, taints
    )
    node = node_for(chosen, number)
    if profile := subject.mig_profile:
        _cut(node, instance, profile)
    return node


def _cut(node: dict[str, Any], instance: Instance, profile: str) -> None:
    """Let the node offer slices of its GPUs in their place, as the plugin's strategy `mixed` does."""
    slices = catalog().gpus[instance.gpu].slices_of(profile, instance.gpu_memory_mebibytes)
    for side in ("capacity", "allocatable"):
        node["status"][side].pop(GPU_RESOURCE, None)
        if slices:
            node["status"][side][MIG_PREFIX + profile] = str(slices * instance.gpu_count)
