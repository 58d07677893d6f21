"""Nodes: which pool makes them, how long that takes, what they cost, when they go.

A pod takes a free place on a node that is there or on its way, else a node is claimed from the heaviest
pool whose limit allows one, of the cheapest instance type that both pod and pool allow. A replica over several
nodes takes as many of one pool and type. Boot phases come
from the plan, each with a seeded spread. An empty node goes after the pool's `consolidateAfter`; nodes that
are merely underused are left alone (both consolidation policies therefore do the same), and disruption
budgets, which slow consolidation down, are not modelled. A pool with a fixed count of nodes has them from the start,
pays for them to the end, and makes no others.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chartproof.catalog import Instance
from chartproof.errors import InputError
from chartproof.languages.duration import DurationError, go_seconds
from chartproof.plan.workload_plan import WorkloadPlan
from chartproof.pool import pools_of
from chartproof.release import Release
from chartproof.simulate.clock import Clock
from chartproof.workload import GPU_RESOURCE

#: Spread of every phase: the coefficient of a log-normal of mean 1. Published phases are single runs.
PHASE_SPREAD = 0.2
#: Time between the notice of a spot interruption and the end of the instance (EC2).
SPOT_NOTICE_SECONDS = 120.0
#: Phases of `chartproof.plan.cold_start` that make a node.
NODE_PHASES = ("node claim", "boot", "GPU registration")
_CLAIM = "node claim"


@dataclass(frozen=True, slots=True)
class NodePool:
    """What simulation needs of a NodePool. `gpu_limit` is None without one, `instances` cheapest first.

    `standing` is the fixed count of nodes, None where nodes follow pods.
    """

    name: str
    instances: tuple[Instance, ...]
    spot: bool
    gpu_limit: int | None
    consolidate_after: float
    standing: int | None = None


@dataclass(eq=False, slots=True)
class Node:
    """A node from its claim to its end. Times are those of the simulation."""

    pool: NodePool
    instance: Instance
    claimed: float
    launched: float
    ready: float
    free_gpus: int
    image_ready: float = math.inf
    empty_since: float = 0.0
    doomed: bool = False
    ended: float | None = None
    residents: list[object] = field(default_factory=list)

    def seconds(self, now: float) -> float:
        """Seconds it has been paid for."""
        return max(0.0, (now if self.ended is None else self.ended) - self.launched)


def node_pools(release: Release, plan: WorkloadPlan) -> tuple[NodePool, ...]:
    """The pools that may hold the workload, heaviest first.

    Without one in the release (pools are often installed with the platform) an unlimited on-demand pool of
    the plan's candidates stands in, whose nodes go as soon as they are empty. Raises InputError where no
    instance type is known.
    """
    names = {each.name for each in plan.candidates}
    found = []
    for pool in pools_of(release):
        instances = tuple(each for each in pool.instances if each.name in names)
        if not instances:
            continue
        limit = str(pool.limits.get(GPU_RESOURCE, ""))
        found.append(
            NodePool(
                pool.name,
                instances,
                spot="spot" in pool.capacity_types,
                gpu_limit=int(limit) if limit.isdigit() else None,
                consolidate_after=math.inf
                if pool.static
                else _duration(str(pool.disruption.get("consolidateAfter") or "0s")),
                standing=int(pool.document.get("spec", "replicas", default=0)) if pool.static else None,
            )
        )
    if not found and plan.candidates:
        found = [NodePool("unnamed", plan.candidates, spot=False, gpu_limit=None, consolidate_after=0.0)]
    if not found:
        raise InputError(
            "nothing says which instance types it runs on",
            where=plan.container.document.identity,
            how="a node selector or affinity on node.kubernetes.io/instance-type, or a NodePool in the release",
        )
    return tuple(found)


def _duration(text: str) -> float:
    if text == "Never":
        return math.inf
    try:
        return go_seconds(text)
    except DurationError:
        return 0.0


class Karpenter:
    """The nodes of one workload. `on_free` is called when capacity comes back, `on_loss` with a doomed node."""

    def __init__(
        self,
        clock: Clock,
        pools: Sequence[NodePool],
        plan: WorkloadPlan,
        *,
        seed: int,
        spot_discount: float = 0.0,
        spot_losses_per_hour: float = 0.0,
    ) -> None:
        self.nodes: list[Node] = []
        self.on_free: Callable[[], None] = lambda: None
        self.on_loss: Callable[[Node], None] = lambda _: None
        self.spot_losses = 0
        self._clock = clock
        self._pools = pools
        self._plan = plan
        self._gpus = plan.gpus_per_node
        self._count = plan.nodes
        self._homes: dict[object, list[Node]] = {}
        self._spot_discount = spot_discount
        self._spot_losses_per_hour = spot_losses_per_hour
        self._draw = random.Random(f"{seed} nodes")  # noqa: S311
        for pool in pools:
            for _ in range(pool.standing or 0):
                self._stand(pool)

    @property
    def alive(self) -> list[Node]:
        """Nodes that are paid for or on their way."""
        return [each for each in self.nodes if each.ended is None]

    def place(self, resident: object) -> Node | None:
        """The node of a replica, of several the one that is ready last; None where every pool's limit is reached."""
        homes = [each for each in self.alive if not each.doomed and each.free_gpus >= self._gpus][: self._count]
        missing = self._count - len(homes)
        if missing:
            homes += self._claimed(missing)
        if len(homes) < self._count:
            return None
        for node in homes:
            self._take(node, resident)
        self._homes[resident] = homes
        return max(homes, key=lambda each: each.ready)

    def nodes_of(self, resident: object) -> Sequence[Node]:
        """All nodes that a replica is on."""
        return self._homes.get(resident, ())

    def _claimed(self, count: int) -> list[Node]:
        """So many new nodes of the heaviest pool whose limit allows them; none where no pool's does."""
        for pool in self._pools:
            if pool.standing is not None:
                continue
            instance = next((each for each in pool.instances if each.gpu_count >= self._gpus), None)
            used = sum(each.instance.gpu_count for each in self.alive if each.pool is pool)
            if instance is None or (pool.gpu_limit is not None and used + count * instance.gpu_count > pool.gpu_limit):
                continue
            return [self._claim(pool, instance) for _ in range(count)]
        return []

    def warm(self, resident: object) -> Node | None:
        """The same for a pod that was there before the simulation: its node is ready and has the image."""
        found = self.place(resident)
        for node in self.nodes_of(resident):
            node.launched = node.ready = node.image_ready = self._clock.now
        return found

    def leave(self, resident: object) -> None:
        """A replica has gone from its nodes."""
        for node in self._homes.pop(resident):
            self._release(node, resident)
        self.on_free()

    def _release(self, node: Node, resident: object) -> None:
        node.residents.remove(resident)
        node.free_gpus += self._gpus
        if not node.residents:
            node.empty_since = self._clock.now
            if math.isfinite(node.pool.consolidate_after):
                self._clock.after(node.pool.consolidate_after, lambda: self._consolidate(node))

    def pod_phases(self, node: Node) -> list[tuple[str, float]]:
        """What a pod that starts now on this node goes through, in order, and how long each takes.

        The pull is left out where the node has the image, and shared by pods that start together.
        """
        start = max(self._clock.now, node.ready)
        found = [("node", start - self._clock.now)] if start > self._clock.now else []
        for phase in self._plan.cold_start_on(node.instance).phases:
            if phase.name in NODE_PHASES or phase.name == "reaction":
                continue
            seconds = phase.seconds * self._spread()
            if phase.name == "image pull":
                node.image_ready = min(node.image_ready, start + seconds)
                seconds = max(0.0, node.image_ready - start)
                for each in self._homes.get(node.residents[-1], ()):
                    each.image_ready = min(each.image_ready, node.image_ready)
            if seconds:
                found.append((phase.name, seconds))
        return found

    def gpu_hours(self, now: float) -> float:
        """GPU-hours paid for until now."""
        return sum(each.seconds(now) * self._whole_gpus(each) for each in self.nodes) / 3600

    @property
    def gpus(self) -> int:
        """GPUs of the nodes that are paid for or on their way."""
        return sum(self._whole_gpus(each) for each in self.alive)

    def _whole_gpus(self, node: Node) -> int:
        """GPUs of a node, which to pods may be several slices each (MIG)."""
        return self._plan.facts.instances.get(node.instance.name, node.instance).gpu_count

    def usd(self, now: float) -> float:
        """What they cost: on demand, and spot with the discount that was given."""
        return sum(
            each.seconds(now)
            / 3600
            * (each.instance.usd_per_hour or 0.0)
            * (1 - self._spot_discount if each.pool.spot else 1)
            for each in self.nodes
        )

    def _take(self, node: Node, resident: object) -> None:
        node.free_gpus -= self._gpus
        node.residents.append(resident)

    def _claim(self, pool: NodePool, instance: Instance) -> Node:
        now = self._clock.now
        seconds = {
            each.name: each.seconds * self._spread()
            for each in self._plan.cold_start_on(instance).phases
            if each.name in NODE_PHASES
        }
        node = Node(
            pool,
            instance,
            claimed=now,
            launched=now + seconds[_CLAIM],
            ready=now + sum(seconds.values()),
            free_gpus=instance.gpu_count,
        )
        self.nodes.append(node)
        if pool.spot and self._spot_losses_per_hour:
            lived = self._draw.expovariate(self._spot_losses_per_hour) * 3600
            self._clock.at(node.launched + lived, lambda: self._lose(node))
        return node

    def _stand(self, pool: NodePool) -> None:
        """A node that has been there before, and runs nothing yet."""
        instance = pool.instances[0]
        now = self._clock.now
        node = Node(pool, instance, claimed=now, launched=now, ready=now, free_gpus=instance.gpu_count)
        self.nodes.append(node)

    def _spread(self) -> float:
        return self._draw.lognormvariate(-(PHASE_SPREAD**2) / 2, PHASE_SPREAD)

    def _consolidate(self, node: Node) -> None:
        empty_for = self._clock.now - node.empty_since
        if node.ended is None and not node.residents and empty_for >= node.pool.consolidate_after - 1e-6:
            node.ended = self._clock.now
            self.on_free()

    def _lose(self, node: Node) -> None:
        if node.ended is not None:
            return
        self.spot_losses += 1
        node.doomed = True
        self.on_loss(node)
        self._clock.after(SPOT_NOTICE_SECONDS, lambda: self._end(node))

    def _end(self, node: Node) -> None:
        if node.ended is None:
            node.ended = self._clock.now
            self.on_free()
