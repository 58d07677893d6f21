"""Whether the pods of a release fit the node pools of the same release, and what keeps them out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from chartproof.catalog import Instance
from chartproof.languages.quantity import QuantityError, bytes_of, parse_quantity
from chartproof.pool import (
    AUTO_MODE_LABELS,
    AWS_LABELS,
    CAPACITY_TYPE,
    NODE_POOL,
    ZONE,
    Pool,
    Taint,
    gpu_pools_of,
    is_type_label,
    pools_of,
)
from chartproof.release import Body, Document, PodTemplate, Release, dig, once_per_release
from chartproof.requirements import NORMALISED_LABELS, Requirement, combine, from_expressions, from_labels
from chartproof.workload import GPU_RESOURCE, gpu_count, mig_profile

EFA_RESOURCE = "vpc.amazonaws.com/efa"
DO_NOT_DISRUPT = "karpenter.sh/do-not-disrupt"
_MEBIBYTE = 1024**2
#: Labels that Karpenter fills in by itself, whatever the pool says.
_FILLED_IN = frozenset(
    {
        ZONE,
        CAPACITY_TYPE,
        NODE_POOL,
        "topology.kubernetes.io/region",
        "topology.k8s.aws/zone-id",
        "kubernetes.io/hostname",
        "karpenter.sh/registered",
        "karpenter.sh/initialized",
        "node.kubernetes.io/windows-build",
    }
)
#: What EKS labels its hybrid nodes with; those of Auto Mode and Fargate have other values.
COMPUTE_TYPE, HYBRID = "eks.amazonaws.com/compute-type", "hybrid"
#: Labels of nodes that no NodePool makes: pods that select them live elsewhere.
_OTHER_NODES = re.compile(
    r"^(eks\.amazonaws\.com/nodegroup|alpha\.eksctl\.io/|cloud\.google\.com/|kubernetes\.azure\.com/|agentpool$)"
)
#: Labels that feature discovery puts on nodes once they are up; Karpenter does not know them before.
_DISCOVERED = re.compile(r"^(nvidia\.com/|feature\.node\.kubernetes\.io/)")


class Obstacle(Enum):
    """What keeps a pod from a pool."""

    TAINT = "taint"
    LABEL = "label"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One reason why a pod does not fit a pool; `path` is inside the pod's document."""

    obstacle: Obstacle
    message: str
    path: str
    hint: str


@dataclass(frozen=True, slots=True)
class Needs:
    """What one pod asks of a node."""

    gpus: int
    millicpu: float
    memory_bytes: int
    ephemeral_bytes: int
    efa: int

    def met_by(self, instance: Instance) -> bool:
        """Whether a node of this type has GPUs, CPU, memory and network adapters enough."""
        return (
            self.gpus <= instance.gpu_count
            and self.efa <= instance.efa
            and self.millicpu <= instance.allocatable_millicpu
            and self.memory_bytes <= instance.allocatable_memory_mebibytes * _MEBIBYTE
        )


@dataclass(frozen=True)
class GpuPod:
    """A pod template that asks for NVIDIA GPUs, and its document."""

    document: Document
    pod: PodTemplate

    @property
    def tolerations(self) -> list[Any]:
        """The pod's tolerations."""
        return list(self.pod.spec.get("tolerations") or [])

    @property
    def needs(self) -> Needs:
        """What one pod asks of a node."""
        return needs_of(self.pod)

    @property
    def mig_profile(self) -> str:
        """Profile of the MIG slice that it asks for, empty where it asks for whole GPUs."""
        return next(filter(None, map(mig_profile, self.pod.containers())), "")

    def path(self, *steps: str) -> str:
        """Path below the pod's spec."""
        return self.pod.path_of("spec", *steps)

    def placed_on(self, release: Release) -> list[Pool]:
        """GPU pools of the release that it fits."""
        return [pool for pool in gpu_pools_of(release) if not mismatches(self, pool)]


@once_per_release
def gpu_pods(release: Release) -> list[GpuPod]:
    """Pod templates of the release that ask for `nvidia.com/gpu`, or for slices of one."""
    return [found for document in release.workloads for found in gpu_pods_in(document)]


def gpu_pods_in(document: Document) -> list[GpuPod]:
    """The GPU pods of one document; node agents (DaemonSets) are not counted."""
    if document.kind == "DaemonSet":
        return []
    return [
        GpuPod(document, pod)
        for pod in document.pod_templates
        if any(
            gpu_count(container) or mig_profile(container)
            for container in (*pod.containers(), *pod.containers(init=True))
        )
    ]


def needs_of(pod: PodTemplate) -> Needs:
    """Requests of a pod: containers summed, at least the largest init container, sidecars added."""
    mains = list(pod.containers())
    inits = list(pod.containers(init=True))
    sidecars = [each for each in inits if each.get("restartPolicy") == "Always"]
    once = [each for each in inits if each not in sidecars]

    def total(resource: str) -> float:
        running = sum(_request(each, resource) for each in (*mains, *sidecars))
        return max([running, *(_request(each, resource) for each in once)])

    return Needs(
        gpus=int(total(GPU_RESOURCE)),
        millicpu=total("cpu") * 1000,
        memory_bytes=int(total("memory")),
        ephemeral_bytes=int(total("ephemeral-storage")),
        efa=int(total(EFA_RESOURCE)),
    )


def _request(container: Body, resource: str) -> float:
    for side in ("requests", "limits"):
        value = dig(container, "resources", side, resource)
        if value is not None:
            try:
                return float(parse_quantity(value))
            except QuantityError:
                return 0.0
    return 0.0


def pod_requirements(pod: PodTemplate) -> list[dict[str, Requirement]]:
    """Alternatives of what a pod requires of node labels: node selector and each required affinity term."""
    selected = from_labels(pod.spec.get("nodeSelector"))
    terms = dig(
        pod.spec,
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
        default=[],
    )
    alternatives = [
        combine([*selected, *from_expressions(term.get("matchExpressions"))])
        for term in terms or []
        if isinstance(term, Mapping)
    ]
    return alternatives or [combine(selected)]


def label_path(pod: PodTemplate, key: str) -> str:
    """Where a pod's spec speaks of a node label: its node selector, else its affinity."""
    names = {key, *(old for old, new in NORMALISED_LABELS.items() if new == key)}
    if names & set(pod.spec.get("nodeSelector") or {}):
        return pod.path_of("spec", "nodeSelector")
    return pod.path_of("spec", "affinity", "nodeAffinity")


def mismatches(subject: GpuPod, pool: Pool) -> list[Mismatch]:
    """Every reason why the pods do not fit the pool; empty where they do."""
    return [
        *_taint_mismatches(subject, pool.taints),
        *min((_label_mismatches(subject, each, pool) for each in pod_requirements(subject.pod)), key=len),
        *_resource_mismatches(subject, pool),
    ]


def blocked_by(subject: GpuPod, release: Release, obstacle: Obstacle) -> Iterator[tuple[Pool, Mismatch]]:
    """Why a GPU pod fits none of the release's GPU pools, where this kind of obstacle is the reason.

    Silent where there is no GPU pool (nodes exist elsewhere), one pool fits, or the pod asks for nodes that
    no NodePool makes (a managed node group). Else the pools that
    come closest, by the number of different obstacles, are looked at.
    """
    if all(_elsewhere(each) for each in pod_requirements(subject.pod)):
        return
    reasons = {pool.name: (pool, mismatches(subject, pool)) for pool in gpu_pools_of(release)}
    general = (pool for pool in pools_of(release) if pool.gpu_instances and pool.name not in reasons)
    if any(not found for _, found in reasons.values()) or any(not mismatches(subject, pool) for pool in general):
        return
    if not reasons:
        return
    kinds = {name: {each.obstacle for each in found} for name, (_, found) in reasons.items()}
    nearest = min(len(each) for each in kinds.values())
    for name, (pool, found) in reasons.items():
        if len(kinds[name]) == nearest:
            yield from ((pool, each) for each in found if each.obstacle is obstacle)


def _elsewhere(wanted: Mapping[str, Requirement]) -> bool:
    """Whether these labels are those of nodes that no NodePool makes: of node groups, other clouds, hybrid nodes."""
    return _hybrid(wanted) or any(_OTHER_NODES.match(key) for key in wanted)


def _hybrid(wanted: Mapping[str, Requirement]) -> bool:
    found = wanted.get(COMPUTE_TYPE)
    return found is not None and found.only == HYBRID


def on_hybrid_nodes(subject: GpuPod) -> bool:
    """Whether the pod is meant for EKS hybrid nodes, which are machines of a site and no instances."""
    return all(_hybrid(each) for each in pod_requirements(subject.pod))


def _taint_mismatches(subject: GpuPod, taints: Iterable[Taint]) -> Iterator[Mismatch]:
    for taint in taints:
        if taint.repels and not any(taint.tolerated_by(each) for each in subject.tolerations):
            yield Mismatch(
                Obstacle.TAINT,
                f"does not tolerate taint {taint}",
                subject.path("tolerations"),
                f"add {{key: {taint.key}, operator: Exists, effect: {taint.effect}}} to the tolerations",
            )


def _label_mismatches(subject: GpuPod, wanted: Mapping[str, Requirement], pool: Pool) -> list[Mismatch]:
    found = []
    typed: dict[str, Requirement] = {}
    for written, requirement in wanted.items():
        key = _canonical(written, pool)
        if is_type_label(key):
            typed[key] = requirement
        have = pool.requirements.get(key)
        if have is None:
            if requirement.absent or is_type_label(key) or key in _FILLED_IN or not pool.on_known_cloud:
                continue
            if key.startswith(AWS_LABELS) or (pool.auto_mode and key.startswith(AUTO_MODE_LABELS)):
                continue
            problem = f"requires label {written!r}, which nodes of the pool do not get"
            hint = f"add {written} to the pool's template labels, or select a label that it has"
        elif have.intersect(requirement).empty:
            problem = f"requires {written} {describe(requirement)}, the pool has {describe(have)}"
            hint = "name a value that the pool has"
        else:
            continue
        found.append(Mismatch(Obstacle.LABEL, problem, label_path(subject.pod, written), hint))
    if not found and typed and pool.gpu_instances and not types_for(pool, typed):
        keys = ", ".join(sorted(typed))
        found.append(
            Mismatch(
                Obstacle.LABEL,
                f"requires by {keys} an instance type that the pool does not allow",
                label_path(subject.pod, next(iter(typed))),
                "require instance types that pod and pool have in common",
            )
        )
    return found


def _canonical(key: str, pool: Pool) -> str:
    if pool.auto_mode and key.startswith(AUTO_MODE_LABELS + "instance-"):
        return AWS_LABELS + key.removeprefix(AUTO_MODE_LABELS)
    return key


def types_for(pool: Pool, wanted: Mapping[str, Requirement]) -> list[Instance]:
    """GPU types that both the pool and requirements of a pod (by canonical label) allow, cheapest first."""
    return [
        each
        for each in pool.gpu_instances
        if all(requirement.allows(each.labels.get(key)) for key, requirement in wanted.items() if is_type_label(key))
    ]


def types_of_pod(subject: GpuPod, pool: Pool) -> list[Instance]:
    """GPU types of the pool that the pod's own requirements allow too, cheapest first."""
    found: list[Instance] = []
    for alternative in pod_requirements(subject.pod):
        wanted = {_canonical(key, pool): requirement for key, requirement in alternative.items()}
        found += [each for each in types_for(pool, wanted) if each not in found]
    return sorted(found, key=lambda each: (each.usd_per_hour or float("inf"), each.name))


def _resource_mismatches(subject: GpuPod, pool: Pool) -> Iterator[Mismatch]:
    candidates = types_of_pod(subject, pool)
    needs = subject.needs
    if not candidates or any(needs.met_by(each) for each in candidates):
        return
    most = max(each.gpu_count for each in candidates)
    if needs.gpus > most:
        problem = f"asks for {needs.gpus} GPUs, the pool's instance types have at most {most}"
    elif needs.efa > max(each.efa for each in candidates):
        problem = f"asks for {needs.efa} {EFA_RESOURCE}, the pool's types have at most {max(x.efa for x in candidates)}"
    else:
        enough = [each for each in candidates if each.gpu_count >= needs.gpus and each.efa >= needs.efa]
        largest = max(enough, key=lambda each: (each.allocatable_memory_mebibytes, each.allocatable_millicpu))
        problem = (
            f"asks for {needs.millicpu / 1000:g} CPU and {needs.memory_bytes / 1024**3:.4g}Gi of memory; the largest "
            f"type of the pool, {largest.name}, has {largest.allocatable_millicpu / 1000:g} CPU and "
            f"{largest.allocatable_memory_mebibytes / 1024:.4g}Gi for pods"
        )
    yield Mismatch(
        Obstacle.RESOURCE,
        problem,
        subject.path("containers"),
        "allow larger instance types in the pool, or ask for less",
    )


def describe(requirement: Requirement) -> str:
    """A requirement in words."""
    if requirement.complement:
        bounds = [
            f"{word} {bound}"
            for word, bound in (("above", requirement.above), ("below", requirement.below))
            if bound is not None
        ]
        if requirement.values:
            bounds.append("none of " + ", ".join(sorted(requirement.values)))
        return " and ".join(bounds) or "any value"
    if not requirement.values:
        return "no value"
    return " or ".join(sorted(requirement.values))


def node_agent_fits(pod: PodTemplate, pool: Pool) -> list[Taint]:
    """Taints of a pool that a DaemonSet's pods do not tolerate (startup taints need no toleration for long)."""
    tolerations = pod.spec.get("tolerations") or []
    return [each for each in pool.taints if each.repels and not any(each.tolerated_by(item) for item in tolerations)]


def do_not_disrupt(pod: PodTemplate) -> str:
    """Value of the do-not-disrupt annotation, empty where absent."""
    value = pod.annotations.get(DO_NOT_DISRUPT)
    return "" if value is None else str(value).strip().lower()


def pins_for_ever(pod: PodTemplate) -> bool:
    """Whether do-not-disrupt has no end: `true` instead of a duration."""
    return do_not_disrupt(pod) == "true"


def ephemeral_need(pod: PodTemplate) -> int:
    """Bytes of node storage that a pod will use: its request, or its disk-backed emptyDirs' size limits."""
    limits = [
        bytes_of(dig(each, "emptyDir", "sizeLimit")) or 0
        for each in pod.spec.get("volumes") or []
        if isinstance(dig(each, "emptyDir"), Mapping) and dig(each, "emptyDir", "medium") != "Memory"
    ]
    return max(sum(limits), needs_of(pod).ephemeral_bytes)


def labels_allow(subject: GpuPod, pool: Pool) -> bool:
    """Whether nodes of the pool satisfy the pod's node selector and affinity; labels of NVIDIA's discovery may come."""
    for alternative in pod_requirements(subject.pod):
        wanted = {key: value for key, value in alternative.items() if not _DISCOVERED.match(key)}
        if not _label_mismatches(subject, wanted, pool):
            return True
    return False


def agent_reaches(subject: GpuPod, pool: Pool) -> bool:
    """Whether a DaemonSet's pods run on nodes of the pool."""
    return labels_allow(subject, pool) and not node_agent_fits(subject.pod, pool)
