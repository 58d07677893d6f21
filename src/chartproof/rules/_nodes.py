"""What rules ask about node classes, the operating systems behind them, and NVIDIA's node software."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from chartproof.languages.bottlerocket import BottlerocketError, UserData, parse_user_data
from chartproof.pool import NodeClass, Pool, gpu_pools_of, pools_with
from chartproof.release import Document, Release, dig
from chartproof.resources import directory
from chartproof.scheduling import GpuPod, gpu_pods, mismatches
from chartproof.workload import IMAGE_GIGABYTES_ANNOTATION, NODE_FAMILY_ANNOTATION, EngineContainer, engines_of

GIBIBYTE = 1024**3
#: Families of EKS images that come with NVIDIA's driver and container toolkit.
ACCELERATED_FAMILIES = frozenset({"bottlerocket", "al2023", "al2"})
#: Compressed size assumed for an engine image that does not say: vLLM's own, 0.2x to 0.33.
ENGINE_IMAGE_GIGABYTES = 9.4
#: Images of NVIDIA's node software, by what it does.
_AGENT_IMAGES = {
    "device plugin": re.compile(r"(^|/)k8s-device-plugin([@:]|$)"),
    "dcgm-exporter": re.compile(r"(^|/)dcgm-exporter([@:]|$)"),
    "GPU Feature Discovery": re.compile(r"(^|/)gpu-feature-discovery([@:]|$)"),
}
_OPERATOR_NAME = re.compile(r"(^|/)gpu-operator([@:]|$)")


@cache
def operating_systems() -> Mapping[str, Any]:
    """The catalog's facts about operating systems of GPU nodes and about gp3 volumes."""
    with (directory("catalog") / "operating-systems.yaml").open(encoding="utf-8") as stream:
        loaded: Mapping[str, Any] = yaml.safe_load(stream)
    return loaded


def driver_of(family: str) -> int | None:
    """NVIDIA driver branch that images of a family come with, None where unknown."""
    found = dig(operating_systems(), "operatingSystems", family, "driver")
    return found if isinstance(found, int) else None


def user_data_of(document: Document) -> UserData | None:
    """The parsed Bottlerocket user data of a node class; None for other systems and for broken TOML."""
    node_class = NodeClass(document)
    if node_class.family != "bottlerocket" or not node_class.user_data.strip():
        return None
    try:
        return parse_user_data(node_class.user_data)
    except BottlerocketError:
        return None


def gpu_pools_with(document: Document, release: Release) -> list[Pool]:
    """GPU pools of the release whose nodes come from this node class."""
    using = {pool.name for pool in pools_with(document, release)}
    return [pool for pool in gpu_pools_of(release) if pool.name in using]


def makes_gpu_nodes(document: Document, release: Release) -> bool:
    """Whether GPU nodes come from this node class: a GPU pool uses it, or its user data speaks of GPUs."""
    data = user_data_of(document)
    return bool(gpu_pools_with(document, release)) or (
        data is not None and (data.has("kubelet-device-plugins") or data.has("nvidia-container-runtime"))
    )


def gpu_families(release: Release) -> set[str]:
    """Operating systems of the release's GPU nodes, as node classes and pod annotations say."""
    found = {
        pool.node_class.family for pool in gpu_pools_of(release) if pool.node_class and not pool.node_class.auto_mode
    }
    found |= {
        str(pod.pod.annotations[NODE_FAMILY_ANNOTATION])
        for pod in gpu_pods(release)
        if NODE_FAMILY_ANNOTATION in pod.pod.annotations
    }
    found |= {
        NodeClass(each).family
        for each in release.of_kind("EC2NodeClass")
        if not pools_with(each, release) and makes_gpu_nodes(each, release)
    }
    return {family for family in found if family}


def engines_on(pools: list[Pool], release: Release) -> list[EngineContainer]:
    """Engines whose pods fit one of these pools; all engines where the pools' pods cannot be told."""
    return [
        each
        for each in engines_of(release)
        if any(not mismatches(GpuPod(each.document, each.pod), pool) for pool in pools)
    ]


def throughput_of(ebs: Mapping[str, Any]) -> tuple[float, float] | None:
    """Throughput in MiB/s and IOPS that a gp3 volume asks for; None where it is of another type or says nothing."""
    if str(ebs.get("volumeType") or "gp3") != "gp3":
        return None
    throughput, iops = ebs.get("throughput"), ebs.get("iops")
    if throughput is None and iops is None:
        return None
    gp3 = operating_systems()["gp3"]
    try:
        return (
            float(throughput if throughput is not None else gp3["leastThroughputMebibytesPerSecond"]),
            float(iops if iops is not None else gp3["leastIops"]),
        )
    except (TypeError, ValueError):
        return None


def device_plugin_sources(release: Release) -> Iterator[tuple[Document, str]]:
    """Everything in the release that would run NVIDIA's device plugin, and how to call it."""
    for document in release.documents:
        if gpu_agent(document) == "device plugin":
            yield document, f"DaemonSet {document.name!r}"
        elif document.kind == "ClusterPolicy" and dig(document.body, "spec", "devicePlugin", "enabled") is not False:
            yield document, f"the GPU Operator (ClusterPolicy {document.name!r})"


def gpu_operators(release: Release) -> list[Document]:
    """ClusterPolicies of the GPU Operator and, where there is none, its Deployment."""
    policies = [each for each in release.of_kind("ClusterPolicy") if each.group == "nvidia.com"]
    if policies:
        return policies
    return [each for each in release.of_kind("Deployment") if runs_gpu_operator(each)]


def runs_gpu_operator(document: Document) -> bool:
    """Whether a Deployment is the GPU Operator itself."""
    pod = document.pod_template
    return pod is not None and any(_OPERATOR_NAME.search(str(each.get("image") or "")) for each in pod.containers())


def largest_engine_image(release: Release) -> float:
    """Compressed gigabytes of the largest engine image: annotated, else that of a typical one."""
    sizes = []
    for engine in engines_of(release):
        try:
            sizes.append(float(engine.pod.annotations.get(IMAGE_GIGABYTES_ANNOTATION) or ENGINE_IMAGE_GIGABYTES))
        except ValueError:
            sizes.append(ENGINE_IMAGE_GIGABYTES)
    return max(sizes, default=ENGINE_IMAGE_GIGABYTES)


def runs_feature_discovery(document: Document) -> bool:
    """Whether a DaemonSet is Node Feature Discovery's worker, which labels nodes by their devices."""
    pod = document.pod_template
    return (
        document.kind == "DaemonSet"
        and pod is not None
        and any("node-feature-discovery" in str(each.get("image") or "") for each in pod.containers())
    )


def gpu_agent(document: Document) -> str | None:
    """Which of NVIDIA's node agents a DaemonSet runs, or None."""
    if document.kind != "DaemonSet" or document.pod_template is None:
        return None
    for container in document.pod_template.containers():
        image = str(container.get("image") or "")
        words = " ".join(str(word) for word in (container.get("command") or []) + (container.get("args") or []))
        for name, mark in _AGENT_IMAGES.items():
            if mark.search(image):
                discovery = name == "device plugin" and "gpu-feature-discovery" in words
                return "GPU Feature Discovery" if discovery else name
    return None
