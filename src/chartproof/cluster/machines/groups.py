"""Groups of pods that are one engine: how their processes find each other, and what becomes of them when one ends.

As LeaderWorkerSet makes them: a leader, which answers requests, and workers, which compute with it. Each process looks
for the leader under the name that it was told (vLLM `--master-addr`, SGLang `--dist-init-addr`), which must lead to the
leader's pod, and waits for the others before it loads anything: as long as it was told, else as long as PyTorch waits.

Of a group that has met, nobody can go on without the others, and nobody is told. The leader still answers health
checks, but no token comes any more, until its executor gives up (vLLM `VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS`, SGLang
`--watchdog-timeout`); a worker waits for its next task for ever. Who makes such a group anew is its controller.
Not played: the time that the meeting itself takes, and tasks that get stuck on the network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from chartproof.cluster.machines.endpoints import Endpoint, NoSuchHostError
from chartproof.cluster.machines.errand import Errand
from chartproof.cluster.machines.server import EXIT_ERROR
from chartproof.cluster.speed import Speed
from chartproof.release import dig
from chartproof.workload import EngineContainer

Body = Mapping[str, Any]

PREFIX = "leaderworkerset.sigs.k8s.io"
SET_LABEL, GROUP_LABEL, INDEX_LABEL = f"{PREFIX}/name", f"{PREFIX}/group-index", f"{PREFIX}/worker-index"
LEADER_ADDRESS = "LWS_LEADER_ADDRESS"
"""Variable that the controller's webhook gives to every container of a group (LeaderWorkerSet 0.9, `pkg/utils/pod`)."""

PATIENCE_SECONDS = 600.0
"""For the others, where no option says: PyTorch's `default_pg_nccl_timeout`."""
STUCK_SECONDS = 300.0
"""Until an executor gives up a task: the default of both engines."""
_LOOK_SECONDS = 0.05
"""Real seconds between looks for the leader."""
_ANY_PORT = 1

Resolve = Callable[[str, int], Endpoint | None]
"""Where a name leads in the pod network; raises NoSuchHostError."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod is among groups: `index` 0 is the leader of its group."""

    namespace: str
    set: str
    group: str
    index: int

    @classmethod
    def of(cls, pod: Body) -> Place | None:
        """That of a pod; None where it is in no group."""
        labels = dig(pod, "metadata", "labels", default={})
        try:
            index = int(labels[INDEX_LABEL])
            return cls(pod["metadata"]["namespace"], labels[SET_LABEL], labels[GROUP_LABEL], index)
        except (KeyError, ValueError):
            return None


class Member(Protocol):
    """A process of a group."""

    def met(self) -> None:
        """All are there: it can load."""

    def lost(self) -> None:
        """Another one has ended."""


class Group:
    """The processes that are one engine."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.leader: Member | None = None
        self.leader_address = ""
        self.leader_gone = asyncio.Event()
        """That no leader is there which would need the others."""
        self.leader_gone.set()
        self._members: dict[int, Member] = {}

    def has(self, member: Member) -> bool:
        """Whether a process is one of those that work, or will work, together."""
        return any(each is member for each in self._members.values())

    def enter(self, index: int, member: Member, address: str = "") -> None:
        """A process is there; `address` is the leader's pod's."""
        self._members[index] = member
        if index == 0:
            self.leader, self.leader_address = member, address
            self.leader_gone.clear()
        if set(self._members) >= set(range(self.size)):
            for each in list(self._members.values()):
                each.met()

    def leave(self, member: Member) -> None:
        """A process has ended. Those that it leaves behind are of no use to the ones that come."""
        if self.leader is member:
            self.leader, self.leader_address = None, ""
            self.leader_gone.set()
        if self.has(member):
            others = [each for each in self._members.values() if each is not member]
            self._members.clear()
            for each in others:
                each.lost()


@dataclass(frozen=True, slots=True)
class Seat:
    """A process's place in its group, where it looks for the leader, and how long it waits (simulated seconds)."""

    group: Group
    index: int
    address: str
    leader_host: str
    patience: float
    resolve: Resolve

    def take(self, member: Member) -> None:
        """Be there."""
        self.group.enter(self.index, member, self.address)

    def leave(self, member: Member) -> None:
        """End."""
        self.group.leave(member)

    async def find_leader(self) -> None:
        """Wait until the leader is where this process was told that it is."""
        while True:
            if self.group.leader_address and self._leader() == self.group.leader_address:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _leader(self) -> str | None:
        try:
            found = self.resolve(self.leader_host, _ANY_PORT)
        except NoSuchHostError:
            return None
        return None if found is None else found.address


@dataclass(slots=True)
class Groups:
    """All groups of a cluster, by set and number. A group made anew has the old one's name, and none of its members."""

    resolve: Resolve
    _groups: dict[tuple[str, str, str], Group] = field(default_factory=dict)

    def seat(self, place: Place, engine: EngineContainer, address: str) -> Seat | None:
        """The place of an engine in a pod with this address; None where it computes with no other pod."""
        size = engine.integer("--nnodes", "-n", default=1)
        if size < 2:  # noqa: PLR2004  (alone)
            return None
        key = place.namespace, place.set, place.group
        group = self._groups.setdefault(key, Group(size))
        group.size = size
        host = (engine.option("--master-addr", "--dist-init-addr", "--nccl-init-addr") or "").partition(":")[0]
        patience = engine.integer("--distributed-timeout-seconds", "--dist-timeout", default=0)
        return Seat(group, place.index, address, host, float(patience or PATIENCE_SECONDS), self.resolve)


class Worker(Errand):
    """An engine's process that computes for a leader in another pod; nobody can talk to it."""

    def __init__(self, seat: Seat, speed: Speed, occupy: Callable[[Worker], Callable[[], None]]) -> None:
        """`occupy` is called at the start and returns what is called at the end: it holds its GPUs between."""
        super().__init__(None)
        self.seat = seat
        self.has_met = False
        self._speed = speed
        self._occupy = occupy
        self._vacate: Callable[[], None] | None = None
        self._seeking: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look for the leader."""
        self._vacate = self._occupy(self)
        self._seeking = asyncio.create_task(self._seek())
        seconds = self._speed.real(self.seat.patience)
        self._patience = asyncio.get_running_loop().call_later(seconds, self.crash, EXIT_ERROR, "Error")

    async def _seek(self) -> None:
        await self.seat.find_leader()
        self.seat.take(self)

    def met(self) -> None:
        """All are there."""
        self.has_met = True
        if self._patience is not None:
            self._patience.cancel()

    def lost(self) -> None:
        """Another one has ended: before the work began that is noticed, later it is not."""
        if not self.has_met:
            self.crash(EXIT_ERROR, "Error")

    def crash(self, code: int, reason: str) -> None:
        """End by itself."""
        if self.exit.done():
            return
        for each in (self._seeking, self._patience):
            if each is not None:
                each.cancel()
        if self._vacate is not None:
            self._vacate()
        super().crash(code, reason)
        self.seat.leave(self)


def waits_for_leader(hook: Any) -> bool:
    """Whether a worker's preStop goes on for as long as its leader is there: a command that asks for it."""
    return any(LEADER_ADDRESS in str(word) for word in dig(hook, "exec", "command", default=()))
