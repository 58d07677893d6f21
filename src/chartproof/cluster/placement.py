"""Which node an unschedulable pod would get: what Karpenter decides, as a pure function.

Requirements of pool and pod are intersected, labels decide, taints must be tolerated, the pods of
DaemonSets that would join are counted, and the cheapest type of the heaviest pool wins. Source of
the rules: kubernetes-sigs/karpenter v1.14 `pkg/controllers/provisioning/scheduling`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from chartproof.catalog import Instance
from chartproof.languages.quantity import parse_quantity
from chartproof.release import dig, has_labels, selector_matches
from chartproof.scheduling import EFA_RESOURCE
from chartproof.workload import GPU_RESOURCE

Body = Mapping[str, Any]

ZONE = "topology.kubernetes.io/zone"
CAPACITY_TYPE = "karpenter.sh/capacity-type"
NODE_POOL = "karpenter.sh/nodepool"

RESERVED = "reserved"
_CAPACITY_TYPES = (RESERVED, "spot", "on-demand")
"""In Karpenter's order of preference where a pool allows all."""

_STATIC_WEIGHT = 101
"""Above the largest that Karpenter allows."""

_NO_EXECUTION = {"NoSchedule", "NoExecute"}


@dataclass(frozen=True, slots=True)
class Resources:
    """What a pod asks for or a node has left."""

    millicpu: float = 0
    memory_bytes: float = 0
    gpus: float = 0
    pods: int = 0
    efa: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.millicpu + other.millicpu,
            self.memory_bytes + other.memory_bytes,
            self.gpus + other.gpus,
            self.pods + other.pods,
            self.efa + other.efa,
        )

    def fits(self, room: Resources) -> bool:
        """Whether `room` has all of this."""
        return (
            self.millicpu <= room.millicpu
            and self.memory_bytes <= room.memory_bytes
            and self.gpus <= room.gpus
            and self.pods <= room.pods
            and self.efa <= room.efa
        )

    def __str__(self) -> str:
        adapters = f", {self.efa:g} EFA" if self.efa else ""
        return f"{self.gpus:g} GPU, {self.millicpu:g}m CPU, {self.memory_bytes / 1024**2:.0f} Mi memory{adapters}"


@dataclass(frozen=True, slots=True)
class Placement:
    """The node to make: from which pool, of which type, with which labels and taints."""

    pool: str
    instance: Instance
    capacity_type: str
    zone: str
    labels: Mapping[str, str]
    taints: tuple[Body, ...]


@dataclass(frozen=True, slots=True)
class NoPlacement:
    """Why no pool has a node for the pod, one reason per pool."""

    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.reasons) or "there is no NodePool"


@dataclass(frozen=True, slots=True)
class Pool:
    """A NodePool as placement sees it.

    `used` is what its nodes have already, counted against its limits; `zone_nodes` how many of them
    each zone has; `reservations` whether its node class selects capacity reservations, which are taken
    to be of every type and never full.
    """

    body: Body
    used: Resources
    zone_nodes: Mapping[str, int]
    reservations: bool = False

    @property
    def name(self) -> str:
        """The pool's name, which every node of it carries as a label."""
        return str(self.body["metadata"]["name"])

    @property
    def weight(self) -> int:
        """Pools of larger weight are tried first; nodes of a static pool are there before any pod."""
        return _STATIC_WEIGHT if self.static_nodes is not None else int(dig(self.body, "spec", "weight", default=1))

    @property
    def static_nodes(self) -> int | None:
        """How many nodes the pool has, whatever pods ask for; None where it follows them."""
        found = dig(self.body, "spec", "replicas")
        return None if found is None else int(found)

    @property
    def capacity_types(self) -> tuple[str, ...]:
        """What its nodes can be bought as, the first choice first."""
        return tuple(each for each in _CAPACITY_TYPES if self.reservations or each != RESERVED)

    @property
    def template(self) -> Body:
        """What the pool says about its nodes."""
        return dict(dig(self.body, "spec", "template", default={}))

    @property
    def taints(self) -> tuple[Body, ...]:
        """Taints that stay on the nodes."""
        return tuple(dig(self.template, "spec", "taints", default=()))

    def zones(self, offered: Sequence[str]) -> list[str]:
        """The zones it names, else those offered; the one with the fewest nodes first."""
        named = [
            value
            for each in self._requirements
            if each["key"] == ZONE and each["operator"] == "In"
            for value in each["values"]
        ]
        return sorted(named or offered, key=lambda zone: self.zone_nodes.get(zone, 0))

    def labels_of(self, instance: Instance, capacity_type: str, zone: str) -> Iterator[Body]:
        """The label sets a node of this pool, type and place can have; none where not allowed."""
        fixed = {
            **dig(self.template, "metadata", "labels", default={}),
            **instance.labels,
            NODE_POOL: self.name,
            CAPACITY_TYPE: capacity_type,
            ZONE: zone,
            "topology.kubernetes.io/region": zone.rstrip("abcdefghijklmnopqrstuvwxyz"),
        }
        own = {
            each["key"]: each["values"]
            for each in self._requirements
            if each["key"] not in fixed and each["operator"] == "In" and not _is_well_known(each["key"])
        }
        for values in product(*own.values()):
            labels = {**fixed, **dict(zip(own, values, strict=True))}
            if all(holds(each, labels) for each in self._requirements):
                yield labels

    def has_room_for(self, instance: Instance) -> bool:
        """Whether one more node of this type stays within the pool's limits."""
        after = self.used + capacity(instance)
        limits = dig(self.body, "spec", "limits", default={})
        nodes = sum(self.zone_nodes.values()) + 1
        if self.static_nodes is not None and nodes > self.static_nodes:
            return False
        have = {"cpu": after.millicpu / 1000, "memory": after.memory_bytes, GPU_RESOURCE: after.gpus, "nodes": nodes}
        return all(have.get(key, 0) <= _number(limit) for key, limit in limits.items())

    @property
    def _requirements(self) -> list[Body]:
        return list(dig(self.template, "spec", "requirements", default=()))


def place(
    pod: Body,
    pools: Iterable[Pool],
    instances: Iterable[Instance],
    *,
    daemons: Sequence[Body] = (),
    zones: Sequence[str],
    only: Collection[str] = (),
) -> Placement | NoPlacement:
    """The node that makes this pod schedulable, or why there is none.

    `pod` is the pod's spec, `daemons` the pod specs of DaemonSets, `zones` the region's zones; where `only` has some,
    the node must be in one of these.
    """
    offered = sorted(instances, key=lambda each: (each.usd_per_hour or float("inf"), each.name))
    reasons = []
    for pool in sorted(pools, key=lambda each: (-each.weight, each.name)):
        there = [each for each in pool.zones(zones) if not only or each in only]
        if not there:
            reasons.append(
                f"pool {pool.name}: it has no nodes in {', '.join(sorted(only))}, where the pods beside it are"
            )
            continue
        outcome = _place_in(pool, pod, offered, daemons, there)
        if isinstance(outcome, Placement):
            return outcome
        reasons.append(f"pool {pool.name}: {outcome}")
    return NoPlacement(tuple(reasons))


def _place_in(
    pool: Pool,
    pod: Body,
    offered: Sequence[Instance],
    daemons: Sequence[Body],
    zones: Sequence[str],
) -> Placement | str:
    refused = [each for each in pool.taints if not tolerates(pod, each)]
    if refused:
        return f"does not tolerate the taint {_taint_text(refused[0])}"
    allowed = too_small = over_limit = False
    for instance, capacity_type, zone in product(offered, pool.capacity_types, zones):
        for labels in pool.labels_of(instance, capacity_type, zone):
            allowed = True
            if not selects(pod, labels):
                continue
            joining = [
                each
                for each in daemons
                if selects(each, labels) and all(tolerates(each, taint) for taint in pool.taints)
            ]
            wanted = sum((requests(each) for each in joining), requests(pod))
            if not wanted.fits(allocatable(instance)):
                too_small = True
            elif not pool.has_room_for(instance):
                over_limit = True
            else:
                return Placement(pool.name, instance, capacity_type, zone, labels, pool.taints)
    if over_limit:
        return f"its limits ({dict(dig(pool.body, 'spec', 'limits', default={}))}) leave no room"
    if too_small:
        return f"no type that both allow has {requests(pod)} besides what DaemonSets take"
    if allowed:
        return "the pod's node selector and affinity match none of its nodes"
    return "its requirements allow no instance type of the catalog"


def capacity(instance: Instance) -> Resources:
    """What the machine has."""
    return Resources(
        millicpu=instance.vcpu * 1000,
        memory_bytes=instance.memory_mebibytes * 1024**2,
        gpus=instance.gpu_count,
        pods=instance.allocatable_pods,
        efa=instance.efa,
    )


def devices(instance: Instance) -> dict[str, str]:
    """What a machine offers that pods ask for by the piece, as device plugins tell of it."""
    have = {GPU_RESOURCE: instance.gpu_count, EFA_RESOURCE: instance.efa}
    return {name: str(count) for name, count in have.items() if count}


def allocatable(instance: Instance) -> Resources:
    """What pods get of it, as Karpenter plans."""
    return Resources(
        millicpu=instance.allocatable_millicpu,
        memory_bytes=instance.allocatable_memory_mebibytes * 1024**2,
        gpus=instance.gpu_count,
        pods=instance.allocatable_pods,
        efa=instance.efa,
    )


def requests(pod: Body) -> Resources:
    """What the scheduler counts for a pod spec: containers, sidecars, the largest init step."""
    running = Resources(pods=1)
    for each in pod.get("containers") or ():
        running += _request(each)
    largest = sidecars = Resources()
    for each in pod.get("initContainers") or ():
        if each.get("restartPolicy") == "Always":
            sidecars += _request(each)
            largest = _larger(largest, sidecars)
        else:
            largest = _larger(largest, sidecars + _request(each))
    overhead = _quantities(pod.get("overhead") or {})
    return _larger(running + sidecars, largest) + overhead


def selects(pod: Body, labels: Body) -> bool:
    """Whether node selector and required node affinity of a pod spec match these node labels."""
    wanted = pod.get("nodeSelector") or {}
    if not has_labels(labels, wanted):
        return False
    terms = dig(
        pod,
        *("affinity", "nodeAffinity"),
        *("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"),
        default=(),
    )
    return not terms or any(all(holds(each, labels) for each in term.get("matchExpressions") or ()) for term in terms)


def beside(pod: Body, pods: Iterable[Body], nodes: Mapping[str, Body], topology: str) -> set[str]:
    """In which domains of a topology (a node label) a pod must be to be beside those that it belongs to.

    `pods` are those of its namespace, `nodes` the labels of nodes by name. Empty where nothing binds it: it asks for
    no company, or none of it has a node yet.
    """
    found: set[str] = set()
    terms = dig(pod["spec"], "affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution", default=())
    for term in terms:
        if term.get("topologyKey") == topology:
            # The API server has put `matchLabelKeys` into the selector.
            selector = term.get("labelSelector") or {}
            near = (each for each in pods if selector_matches(selector, dig(each, "metadata", "labels", default={})))
            company = (nodes.get(each["spec"].get("nodeName", "")) for each in near)
            found |= {labels[topology] for labels in company if labels and topology in labels}
    return found


def tolerates(pod: Body, taint: Body) -> bool:
    """Whether a pod spec may run on a node with this taint."""
    if taint["effect"] not in _NO_EXECUTION:
        return True
    return any(_matches(each, taint) for each in pod.get("tolerations") or ())


def holds(requirement: Body, labels: Body) -> bool:
    """Whether a label requirement (In, NotIn, Exists, DoesNotExist, Gt, Lt) holds on these labels."""
    values = requirement.get("values") or []
    have = labels.get(requirement["key"])
    answers: Mapping[str, bool] = {
        "In": have in values,
        "NotIn": have not in values,
        "Exists": have is not None,
        "DoesNotExist": have is None,
    }
    if have is not None and requirement["operator"] in {"Gt", "Lt"}:
        difference = int(have) - int(values[0])
        return difference > 0 if requirement["operator"] == "Gt" else difference < 0
    return answers.get(requirement["operator"], False)


def _matches(toleration: Body, taint: Body) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    key = toleration.get("key")
    if toleration.get("operator", "Equal") == "Exists":
        return key in (None, "", taint["key"])
    return bool(key == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or ""))


def _request(container: Body) -> Resources:
    limits = dig(container, "resources", "limits", default={})
    # A request that is absent defaults to the limit.
    return _quantities({**limits, **dig(container, "resources", "requests", default={})})


def _quantities(resources: Body) -> Resources:
    return Resources(
        millicpu=_number(resources.get("cpu", 0)) * 1000,
        memory_bytes=_number(resources.get("memory", 0)),
        gpus=_number(resources.get(GPU_RESOURCE, 0)),
        efa=_number(resources.get(EFA_RESOURCE, 0)),
    )


def _number(quantity: object) -> float:
    return float(parse_quantity(quantity))


def _larger(one: Resources, other: Resources) -> Resources:
    return Resources(
        max(one.millicpu, other.millicpu),
        max(one.memory_bytes, other.memory_bytes),
        max(one.gpus, other.gpus),
        max(one.pods, other.pods),
        max(one.efa, other.efa),
    )


def _is_well_known(key: str) -> bool:
    """Whether a label follows from instance type and place, so that a pool cannot invent it."""
    domain = key.partition("/")[0]
    return domain in {"karpenter.k8s.aws", "topology.kubernetes.io", "kubernetes.io", "node.kubernetes.io"} or key in {
        CAPACITY_TYPE,
        NODE_POOL,
    }


def _taint_text(taint: Body) -> str:
    return f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"
