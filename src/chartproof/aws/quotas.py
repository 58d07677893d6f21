"""How many vCPUs of which EC2 quota a release needs: most replicas and surge, or the limit of a pool.

EC2 counts vCPUs, by bucket: G and P instances apart, spot and on demand apart. An autoscaler's
maximum means nothing where the quota behind it is smaller, and a new account has none at all for
instances with GPUs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chartproof.aws.facts import Quota, quota
from chartproof.aws.target import Target
from chartproof.catalog import Instance, catalog
from chartproof.languages.quantity import QuantityError, parse_quantity
from chartproof.plan.candidates import cut
from chartproof.pool import INSTANCE_TYPE, Pool, gpu_pools_of
from chartproof.release import Release
from chartproof.rules._selection import replica_range
from chartproof.scheduling import GpuPod, gpu_pods, mismatches, on_hybrid_nodes, pod_requirements, types_of_pod
from chartproof.workload import GPU_RESOURCE

Json = dict[str, Any]
#: Kinds whose pods end by themselves or are replaced in place: they have no surge.
_NO_SURGE = frozenset({"Job", "CronJob", "Pod", "StatefulSet", "ReplicaSet"})
#: Kubernetes' default of a Deployment's maxSurge.
_DEFAULT_SURGE = "25%"
_PERCENT = re.compile(r"(\d+)%")
_ON_DEMAND, _SPOT = "on-demand", "spot"


@dataclass(frozen=True, slots=True)
class Size:
    """Nodes of one instance type, and their vCPUs."""

    instance_type: str
    nodes: int
    vcpus: int


@dataclass(frozen=True, slots=True)
class Need:
    """What one workload, or a pool that nothing of the release lands on, counts against one quota.

    `quota` is None where AWS names none for these types. `replicas` and `surge` are 0 for a pool; `gpus` are all
    GPUs together. `cheapest` is what it takes on the cheapest type, `largest` on the type that takes the most vCPUs.
    """

    quota: Quota | None
    capacity_type: str
    source: str
    pools: tuple[str, ...]
    replicas: int
    surge: int
    gpus: int
    instance_types: tuple[str, ...]
    cheapest: Size
    largest: Size


@dataclass(frozen=True, slots=True)
class Unsized:
    """What needs GPUs, and of which no instance type can be told."""

    source: str
    reason: str


def needs(release: Release) -> tuple[list[Need], list[Unsized]]:
    """Needs of all GPU workloads and pools, and what cannot be sized."""
    found: list[Need] = []
    unsized: list[Unsized] = []
    used: set[str] = set()
    pools = gpu_pools_of(release)
    for subject in gpu_pods(release):
        if on_hybrid_nodes(subject):
            continue
        landing = [pool for pool in pools if not mismatches(subject, pool)]
        used |= {pool.name for pool in landing}
        placed = list(_of_workload(subject, landing, release))
        found += placed
        if not placed:
            unsized.append(Unsized(subject.document.identity, _why_unsized(pools, landing)))
    for pool in pools:
        if pool.name not in used:
            of_pool = list(_of_pool(pool))
            found += of_pool
            if not of_pool:
                unsized.append(Unsized(pool.document.identity, "no limit of GPUs or nodes, or no known instance type"))
    return found, unsized


def _why_unsized(pools: Sequence[Pool], landing: Sequence[Pool]) -> str:
    if landing:
        return "no known instance type of its pools holds it"
    if pools:
        return "it fits no pool of the release and names no instance types"
    return "the release has no pool, and it names no instance types"


def _of_workload(subject: GpuPod, landing: Sequence[Pool], release: Release) -> Iterator[Need]:
    replicas = replica_range(release, subject.document).most
    surge = surge_of(subject, replicas)
    pods = (replicas + surge) * _pods_per_replica(subject)
    offers: dict[tuple[Quota | None, str], list[tuple[Pool | None, Instance]]] = {}
    for pool in landing:
        types = [each for each in types_of_pod(subject, pool) if subject.needs.met_by(each)]
        for capacity_type in _markets(pool):
            for each in types:
                offers.setdefault((_quota(each, capacity_type), capacity_type), []).append((pool, each))
    if not landing:
        # Nodes of another release, or of a node group: the types that the pods themselves name, on demand.
        for each in _named_types(subject):
            offers.setdefault((_quota(each, _ON_DEMAND), _ON_DEMAND), []).append((None, each))
    for (bucket, capacity_type), choices in offers.items():
        types = _distinct(each for _, each in choices)
        gpus = subject.needs.gpus
        if profile := subject.mig_profile:
            # A slice counts as a GPU of an instance that has so many more of them.
            types, gpus = list(cut(types, profile, catalog())), 1
        sizes = [Size(each.name, *_nodes_for(pods, gpus, each)) for each in types]
        if not sizes:
            continue
        yield Need(
            bucket,
            capacity_type,
            subject.document.identity,
            tuple(dict.fromkeys(pool.name for pool, _ in choices if pool is not None)),
            replicas,
            surge,
            pods * gpus,
            tuple(each.name for each in types),
            *_extremes(types, sizes),
        )


def _of_pool(pool: Pool) -> Iterator[Need]:
    """What a pool may buy at most, where it says so."""
    gpus, nodes = _limit(pool, GPU_RESOURCE), _limit(pool, "nodes")
    if pool.static:
        replicas = pool.document.get("spec", "replicas")
        nodes = replicas if isinstance(replicas, int) else nodes
    if gpus is None and nodes is None:
        return
    offers: dict[tuple[Quota | None, str], list[Instance]] = {}
    for capacity_type in _markets(pool):
        for each in pool.gpu_instances:
            offers.setdefault((_quota(each, capacity_type), capacity_type), []).append(each)
    for (bucket, capacity_type), types in offers.items():
        counts = [
            min(
                count
                for count in (nodes, None if gpus is None else math.ceil(gpus / each.gpu_count))
                if count is not None
            )
            for each in types
        ]
        sizes = [Size(each.name, count, count * each.vcpu) for each, count in zip(types, counts, strict=True)]
        most = gpus if gpus is not None else max(count * t.gpu_count for t, count in zip(types, counts, strict=True))
        yield Need(
            bucket,
            capacity_type,
            pool.document.identity,
            (pool.name,),
            0,
            0,
            most,
            tuple(each.name for each in types),
            *_extremes(types, sizes),
        )


def _extremes(types: Sequence[Instance], sizes: Sequence[Size]) -> tuple[Size, Size]:
    """The size on the type that costs least in all, and the one with most vCPUs."""
    prices = {each.name: each.usd_per_hour or math.inf for each in types}
    cheapest = min(sizes, key=lambda each: (prices[each.instance_type] * each.nodes, each.vcpus))
    return cheapest, max(sizes, key=lambda each: each.vcpus)


def _nodes_for(pods: int, gpus_per_pod: int, instance: Instance) -> tuple[int, int]:
    nodes = math.ceil(pods / max(1, instance.gpu_count // max(1, gpus_per_pod)))
    return nodes, nodes * instance.vcpu


def _pods_per_replica(subject: GpuPod) -> int:
    """Pods of this template in one replica: of a LeaderWorkerSet's group, all but a leader of its own template."""
    if subject.document.kind != "LeaderWorkerSet":
        return 1
    size = subject.document.get("spec", "leaderWorkerTemplate", "size", default=1)
    has_leader = subject.document.get("spec", "leaderWorkerTemplate", "leaderTemplate") is not None
    if not isinstance(size, int):
        return 1
    if not has_leader:
        return size
    return 1 if "leaderTemplate" in subject.pod.path else max(0, size - 1)


def surge_of(subject: GpuPod, replicas: int) -> int:
    """Replicas that a rolling update adds for a while."""
    document = subject.document
    if document.kind == "LeaderWorkerSet":
        found = document.get("spec", "rolloutStrategy", "rollingUpdateConfiguration", "maxSurge", default=0)
    elif document.kind in _NO_SURGE or document.get("spec", "strategy", "type") == "Recreate":
        return 0
    else:
        found = document.get("spec", "strategy", "rollingUpdate", "maxSurge", default=_DEFAULT_SURGE)
    if isinstance(found, int):
        return found
    match = _PERCENT.fullmatch(str(found))
    return math.ceil(int(match[1]) * replicas / 100) if match else 0


def _markets(pool: Pool) -> list[str]:
    """Quotas that a pool draws on: capacity reservations count as on demand."""
    return [
        market
        for market, kinds in ((_ON_DEMAND, {"on-demand", "reserved"}), (_SPOT, {"spot"}))
        if pool.capacity_types & kinds
    ]


def _quota(instance: Instance, capacity_type: str) -> Quota | None:
    return quota(instance.family, spot=capacity_type == _SPOT)


def _named_types(subject: GpuPod) -> list[Instance]:
    known = catalog().instances
    names = [
        name
        for alternative in pod_requirements(subject.pod)
        for key, requirement in alternative.items()
        if key == INSTANCE_TYPE
        for name in sorted(requirement.named or ())
    ]
    return _distinct(known[each] for each in names if each in known and subject.needs.met_by(known[each]))


def _distinct(instances: Iterable[Instance]) -> list[Instance]:
    """Each type once, cheapest first."""
    found = {each.name: each for each in instances}.values()
    return sorted(found, key=lambda each: (each.usd_per_hour or math.inf, each.name))


def _limit(pool: Pool, resource: str) -> int | None:
    value = pool.limits.get(resource)
    if value is None:
        return None
    try:
        return int(parse_quantity(value))
    except QuantityError:
        return None


def describe(release: Release, target: Target) -> Json:
    """VCPUs by quota, and what cannot be sized."""
    found, unsized = needs(release)
    grouped: dict[tuple[Quota | None, str], list[Need]] = {}
    for each in found:
        grouped.setdefault((each.quota, each.capacity_type), []).append(each)
    return {
        "needed": [
            _bucket(bucket, capacity_type, members, target) for (bucket, capacity_type), members in grouped.items()
        ],
        "unsized": [{"source": each.source, "reason": each.reason} for each in unsized],
    }


def _bucket(bucket: Quota | None, capacity_type: str, members: Sequence[Need], target: Target) -> Json:
    largest = sum(each.largest.vcpus for each in members)
    return {
        "code": bucket.code if bucket else None,
        "name": bucket.name if bucket else "none that AWS lists: ask AWS",
        "capacityType": capacity_type,
        "defaultVcpus": bucket.default if bucket else None,
        "cheapestVcpus": sum(each.cheapest.vcpus for each in members),
        "largestVcpus": largest,
        "needs": [
            {
                "source": each.source,
                "pools": list(each.pools),
                "replicas": each.replicas,
                "surge": each.surge,
                "gpus": each.gpus,
                "instanceTypes": list(each.instance_types),
                "cheapest": _size(each.cheapest),
                "largest": _size(each.largest),
            }
            for each in members
        ],
        "commands": [
            (
                f"aws service-quotas get-service-quota --region {target.region} --service-code ec2"
                f" --quota-code {bucket.code} --query Quota.Value"
            ),
            (
                f"aws service-quotas request-service-quota-increase --region {target.region} --service-code ec2"
                f" --quota-code {bucket.code} --desired-value {largest}"
            ),
        ]
        if bucket
        else [],
    }


def _size(size: Size) -> Json:
    return {"instanceType": size.instance_type, "nodes": size.nodes, "vcpus": size.vcpus}
