"""Takes one pod through its life on its node, in the order and with the pauses of a kubelet.

Sandbox, image pulls, init containers, containers with their probes and restarts, preStop, SIGTERM, SIGKILL, all in
simulated time. What a container's program is says the function in `Services`; statuses and events are `lifecycle`'s.

Differences to a real node: volumes are there at once, `postStart` takes no time, and `activeDeadlineSeconds` of a pod
is not looked at (Jobs have theirs in the Job controller).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol

from chartproof.catalog import catalog
from chartproof.cluster.api import ApiError
from chartproof.cluster.machines import lifecycle, probes
from chartproof.cluster.machines.errand import Errand
from chartproof.cluster.machines.events import Recorder
from chartproof.cluster.machines.groups import Worker, waits_for_leader
from chartproof.cluster.machines.lifecycle import BackOff, Event, Running, Terminated, Timing, Waiting
from chartproof.cluster.machines.live_release import Surroundings, alone, surroundings_of
from chartproof.cluster.machines.machine import Addresses, Machine
from chartproof.cluster.machines.probes import Kind, Probe
from chartproof.cluster.machines.real_program import RealProgram
from chartproof.cluster.machines.server import EXIT_KILLED, Server
from chartproof.cluster.machines.watch import STRATEGIC_MERGE, Client, Key, key_of, path_of
from chartproof.cluster.objects import INSTANCE_TYPE
from chartproof.cluster.speed import Speed
from chartproof.errors import ChartproofError
from chartproof.plan import ColdStart, plan_workload
from chartproof.release import Release, dig
from chartproof.workload import engines_of

Body = Mapping[str, Any]

#: Phases from which there is no return.
TERMINAL = frozenset({"Succeeded", "Failed"})
#: Answers that say that an object is no longer, or no longer the same.
GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT})

#: Real seconds for a killed program to be gone; then it is taken for gone.
_PATIENCE_SECONDS = 5.0
#: Real seconds between two looks whether an address is still offered.
_LOOK_SECONDS = 0.02

#: A real program takes the time that it takes, to start and to end: so do its probes and its grace.
_REAL_TIME = Speed(1.0)

log = logging.getLogger(__name__)


class PodNetwork(probes.Dispatch, Protocol):
    """What the kubelet asks of the pod network."""

    def attach(self, address: str, server: Server) -> None:
        """From now on the pod's address answers with this program."""

    def detach(self, address: str) -> None:
        """No program answers at this address any more."""

    def offers(self, address: str) -> bool:
        """Whether clients of any Service are sent to the pod's address."""

    def alias(self, host: str, port: int, target: tuple[str, int]) -> None:
        """The pod's port is answered by a real program at an address of this machine."""

    def unalias(self, host: str, port: int) -> None:
        """End of `alias`."""


class ProgramFor(Protocol):
    """Says which program a container runs; None for one of which nothing is known."""

    def __call__(self, pod: Body, container: Body, node: Body, surroundings: Surroundings, /) -> Server | None:
        """`pod` has its address in its status. Raises ChartproofError where the container cannot be made."""


@dataclass(slots=True)
class Life:
    """One life of one container, from its start to its end."""

    container: Body
    program: Server
    begun: datetime
    identity: str
    #: Done with the probe that has failed for good.
    failed: asyncio.Future[Kind]
    probes: dict[Kind, asyncio.Task[None]] = field(default_factory=dict)

    def mute(self, *kinds: Kind) -> None:
        """Ask these probes no more."""
        for kind in kinds:
            if kind in self.probes:
                self.probes.pop(kind).cancel()


@dataclass(frozen=True, slots=True)
class Services:
    """What all pod workers share."""

    client: Client
    network: PodNetwork
    speed: Speed
    programs: ProgramFor
    recorder: Recorder
    addresses: Addresses
    now: Callable[[], datetime]
    #: Pods that stand for real programs, by namespace and name: by port, the program's address on this machine.
    real: Mapping[Key, Mapping[int, tuple[str, int]]] = field(default_factory=dict)


class PodWorker:
    """Takes one pod through its life on its node."""

    def __init__(self, pod: Body, machine: Machine, services: Services) -> None:
        self.pod = pod
        self.machine = machine
        self.record = lifecycle.first_record(pod, now=services.now(), host_address=machine.address)
        self.lives: dict[str, Life] = {}
        self.since = services.now()
        self._services = services
        self._speed = services.speed
        self._timing = Timing()
        self._surroundings = alone(pod)
        self._conditions: list[Body] = list(dig(pod, "status", "conditions", default=()))
        self._written: Body | None = None
        self._dirty = asyncio.Event()
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self._progress = asyncio.Event()
        self._sidecars: list[asyncio.Task[Terminated]] = []
        self._is_gone = False
        if "deletionTimestamp" in pod["metadata"]:
            self._ending.set()

    @property
    def is_ready(self) -> bool:
        """Whether the pod's Ready condition holds."""
        return any(each["type"] == "Ready" and each["status"] == "True" for each in self._conditions)

    @property
    def is_ending(self) -> bool:
        """Whether the pod is to be removed."""
        return self._ending.is_set()

    @property
    def phase(self) -> str:
        """The pod's phase, as it was written last."""
        return str((self._written or {}).get("phase", "Pending"))

    def update(self, pod: Body) -> None:
        """The pod's object has changed: it may be marked for deletion, or with a shorter grace period."""
        before, self.pod = lifecycle.grace_seconds(self.pod), pod
        if "deletionTimestamp" in pod["metadata"]:
            if self._ending.is_set() and lifecycle.grace_seconds(pod) < before:
                self._hurry.set()
            self._ending.set()
        self._dirty.set()

    def remove(self) -> None:
        """The pod's object is gone: nobody waits for its programs."""
        self._is_gone = True
        self._ending.set()
        self._hurry.set()

    async def run(self) -> None:
        """Live. Cancelled, everything of the pod ends at once and nothing is written: the machine is gone."""
        if dig(self.pod, "status", "phase") in TERMINAL:
            # It ended before this process began: its status is whole.
            await self._ending.wait()
            return await self._delete()
        writer = asyncio.create_task(self._keep_written())
        try:
            await first_of(self._live(), self._ending.wait())
            await self._ending.wait()
            await self._end()
            self._unplug()
            writer.cancel()
            await self._write()
            await self._delete()
        finally:
            writer.cancel()
            self._drop()
        return None

    # --- Life ---------------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Everything up to where all containers have ended for good; with `Always` that is never."""
        self._dirty.set()
        await self._prepare()
        if await self._initialise():
            async with asyncio.TaskGroup() as group:
                for container in self.pod["spec"]["containers"]:
                    group.create_task(self._keep(container))
        await self._stop_sidecars()
        self._change(replace(self.record, over=True))
        self._unplug()

    async def _prepare(self) -> None:
        """Read the plan, and make the sandbox."""
        self._surroundings = await surroundings_of(self._services.client, self.pod, self.machine.node)
        self._timing = lifecycle.timing(self.pod, cold_starts(self._surroundings.release, self.machine.node))
        await self._sleep(self._timing.sandbox)
        address = self._services.addresses.take(dig(self.pod, "status", "podIP", default=""))
        for port, target in self._real.items():
            self._services.network.alias(address, port, target)
        self._change(replace(self.record, address=address))

    async def _initialise(self) -> bool:
        """Run the init containers one after the other; whether all have done their work."""
        for container in dig(self.pod, "spec", "initContainers", default=()):
            if lifecycle.is_sidecar(container):
                await self._start_sidecar(container)
            elif (await self._keep(container, init=True)).code:
                return False
        return True

    async def _start_sidecar(self, container: Body) -> None:
        """Start a container that goes on running, and wait until it counts as started."""
        self._sidecars.append(asyncio.create_task(self._keep(container, init=True)))
        while not self.record.container(container["name"]).started:
            self._progress.clear()
            await self._progress.wait()

    async def _stop_sidecars(self) -> None:
        """End the sidecars, the last one first."""
        for task in self._sidecars:
            task.cancel()
        await asyncio.gather(*self._sidecars, return_exceptions=True)
        self._sidecars.clear()
        for life in reversed(list(self.lives.values())):
            await self._kill(life, lifecycle.grace_seconds(self.pod))
            self._bury(life)

    async def _keep(self, container: Body, *, init: bool = False) -> Terminated:
        """Run a container, again and again, until it has ended for good; its last end."""
        back_off, count = BackOff(), self.record.container(container["name"]).restarts
        while True:
            await self._pull(container)
            life = self._begin(container, await self._make(container, init=init), count, init=init)
            end = await self._outlast(life)
            if not lifecycle.restarts(self.pod, container, end.code, init=init):
                return end
            finished = self._clock()
            if wait := back_off.wait(finished):
                self._tell(lifecycle.backing_off(self.pod, container))
                waiting = lifecycle.crash_loop(self.pod, container, wait)
                record = self.record.container(container["name"])
                self._change(self.record.changed(replace(record, state=waiting, last=end)))
                await self._sleep(wait)
            back_off = back_off.next(finished, self._clock())
            count += 1

    async def _pull(self, container: Body) -> None:
        """Have the image on the node."""
        image = container.get("image", "")
        if image in self.machine.images and container.get("imagePullPolicy") != "Always":
            self._tell(lifecycle.present(container))
            return
        begun = self._services.now()
        self._tell(lifecycle.pulling(container))
        await self.machine.pull(image, self._speed.real(self._timing.pulls.get(image, 0.0)))
        self._tell(lifecycle.pulled(container, (self._services.now() - begun).total_seconds()))

    async def _make(self, container: Body, *, init: bool) -> Server:
        """A container's program; one that cannot be made is tried again and again, as a kubelet does."""
        while True:
            try:
                return self._program(container, init=init)
            except ChartproofError as error:
                self._tell(lifecycle.not_made(container, str(error)))
                record = self.record.container(container["name"])
                last = record.state if isinstance(record.state, Terminated) else record.last
                waiting = Waiting("CreateContainerError", str(error))
                self._change(self.record.changed(replace(record, state=waiting, last=last)))
            await self._sleep(lifecycle.SYNC_SECONDS)
            # What was missing may be there by now.
            self._surroundings = await surroundings_of(self._services.client, self.pod, self.machine.node)

    def _begin(self, container: Body, program: Server, count: int, *, init: bool) -> Life:
        """Start a container's next life."""
        name = container["name"]
        life = Life(
            container,
            program,
            self._services.now(),
            f"containerd://{secrets.token_hex(32)}",
            asyncio.get_running_loop().create_future(),
        )
        self.lives[name] = life
        self._tell(lifecycle.created(container))
        program.start()
        if not isinstance(program, Errand):
            self._services.network.attach(self.record.address, program)
        self._tell(lifecycle.started(container))
        before = self.record.container(name)
        self._change(
            self.record.changed(
                replace(
                    before,
                    state=Running(life.begun),
                    last=before.state if isinstance(before.state, Terminated) else before.last,
                    restarts=count,
                    identity=life.identity,
                    started=False,
                    ready=False,
                )
            )
        )
        if self._probe(life, Kind.STARTUP) is None:
            self._started(life, is_work=init and not lifecycle.is_sidecar(container))
        return life

    def _program(self, container: Body, *, init: bool) -> Server:
        placed = {**self.pod, "status": {**self.pod.get("status", {}), "podIP": self.record.address}}
        program = self._services.programs(placed, container, self.machine.node, self._surroundings)
        if program is not None:
            return program
        ends = lifecycle.ends_by_itself(self.pod, container, init=init)
        return Errand(self._speed.real(self._timing.errand(container)) if ends else None)

    async def _outlast(self, life: Life) -> Terminated:
        """Wait until the program ends, or a probe says that it must; how it ended."""
        ends: set[asyncio.Future[Any]] = {life.program.exit, life.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not life.program.exit.done():
            kind = life.failed.result()
            probe = life.container.get(f"{kind.lower()}Probe")
            message = lifecycle.failed_probe(life.container, kind.lower())
            await self._kill(life, lifecycle.grace_seconds(self.pod, probe), message)
        return self._bury(life)

    # --- Probes -------------------------------------------------------------------------------------------------------

    def _probe(self, life: Life, kind: Kind) -> Probe | None:
        """Begin to ask a probe; None where the container has none, or a program that nobody can ask."""
        probe = None if isinstance(life.program, Errand) else Probe.of(life.container, kind)
        if probe is not None:
            watching = probes.watch(
                probe,
                lambda: probes.ask(probe, self.record.address, self._services.network, self._listens),
                _REAL_TIME if isinstance(life.program, RealProgram) else self._speed,
                verdict=lambda passed: self._judge(life, kind, passed=passed),
                failed=lambda message: self._tell(lifecycle.unhealthy(life.container, message)),
            )
            life.probes[kind] = asyncio.create_task(watching)
        return probe

    def _listens(self, port: int) -> bool:
        return any(port in each.program.ports and each.program.listening for each in self.lives.values())

    def _judge(self, life: Life, kind: Kind, *, passed: bool) -> None:
        """A probe has come to a verdict."""
        if kind is Kind.READINESS:
            self._change(self.record.changed(replace(self.record.container(life.container["name"]), ready=passed)))
        elif not passed:
            if not life.failed.done():
                life.failed.set_result(kind)
        elif kind is Kind.STARTUP:
            self._started(life)

    def _started(self, life: Life, *, is_work: bool = False) -> None:
        """The container counts as started: its other probes begin. `is_work`: it is ready once it has ended."""
        name = life.container["name"]
        self._change(self.record.changed(replace(self.record.container(name), started=True)))
        self._probe(life, Kind.LIVENESS)
        if self._probe(life, Kind.READINESS) is None and not is_work:
            self._change(self.record.changed(replace(self.record.container(name), ready=True)))

    # --- End ----------------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Ask all programs to end, and see to it that they do; then the pod's status says so."""
        for task in self._sidecars:
            task.cancel()
        while self.lives:
            self._hurry.clear()
            await first_of(self._end_all(), self._hurry.wait())
        self._change(lifecycle.ended(self.record))

    async def _end_all(self) -> None:
        sidecars = self._sidecar_names()
        # Readiness is asked to the last: the pod may still finish what it was given.
        for life in self.lives.values():
            life.mute(Kind.LIVENESS, Kind.STARTUP)
        grace = lifecycle.MINIMUM_GRACE_SECONDS if self._is_gone else lifecycle.grace_seconds(self.pod)
        begun = self._clock()
        await asyncio.gather(*(self._kill(each, grace) for name, each in self.lives.items() if name not in sidecars))
        for name in [each for each in self.lives if each not in sidecars]:
            self._bury(self.lives[name])
        for name in reversed([each for each in self.lives if each in sidecars]):
            await self._kill(self.lives[name], max(0.0, grace - (self._clock() - begun)))
            self._bury(self.lives[name])

    async def _kill(self, life: Life, grace: float, message: str = "") -> None:
        """End a program: preStop, SIGTERM, and SIGKILL `grace` seconds after the beginning."""
        if life.program.exit.done():
            return
        self._tell(lifecycle.killing(life.container, message))
        begun = self._clock()
        pre_stop = dig(life.container, "lifecycle", "preStop")
        hook = lifecycle.hook_seconds(pre_stop)
        if hook and grace > 0:
            await self._pause(life, min(hook, grace))
        if isinstance(life.program, Worker) and waits_for_leader(pre_stop):
            await self._stay(life, life.program, grace)
        left = max(grace - (self._clock() - begun), lifecycle.MINIMUM_GRACE_SECONDS)
        if not life.program.exit.done():
            life.program.terminate()
            await self._exit(life, left if isinstance(life.program, RealProgram) else self._speed.real(left))
        if not life.program.exit.done():
            life.program.kill()
            await self._exit(life, _PATIENCE_SECONDS)

    async def _pause(self, life: Life, seconds: float) -> None:
        """A preStop that sleeps, so that the endpoints can change before the program ends.

        How long the controllers take for that is real at any speed. So where the sleep is over first only because time
        runs faster, it goes on until the address is offered no more: at most as long as it would take in real time.
        """
        clock = asyncio.get_running_loop().time
        begun = clock()
        await self._exit(life, self._speed.real(seconds))
        while (
            self._services.network.offers(self.record.address)
            and clock() - begun < seconds
            and not life.program.exit.done()
        ):
            await self._exit(life, _LOOK_SECONDS)

    async def _stay(self, life: Life, worker: Worker, seconds: float) -> None:
        """A preStop that goes on for as long as the leader of the group is there, which needs this program."""
        staying = asyncio.create_task(worker.seat.group.leader_gone.wait())
        ends: set[asyncio.Future[Any]] = {life.program.exit, staying}
        await asyncio.wait(ends, timeout=self._speed.real(seconds), return_when=asyncio.FIRST_COMPLETED)
        staying.cancel()

    def _sidecar_names(self) -> set[str]:
        inits = dig(self.pod, "spec", "initContainers", default=())
        return {each["name"] for each in inits if lifecycle.is_sidecar(each)}

    @staticmethod
    async def _exit(life: Life, real_seconds: float) -> None:
        await asyncio.wait({life.program.exit}, timeout=real_seconds)

    def _bury(self, life: Life) -> Terminated:
        """A program has ended: note how."""
        life.mute(*Kind)
        name = life.container["name"]
        del self.lives[name]
        code = life.program.exit.result() if life.program.exit.done() else EXIT_KILLED
        reason = life.program.exit_reason or ("Error" if code else "Completed")
        end = Terminated(code, reason, life.begun, self._services.now(), identity=life.identity)
        # Of an init container, "ready" says that it has done its work.
        is_done = (
            code == 0 and name not in self._sidecar_names() and any(each.name == name for each in self.record.init)
        )
        record = replace(self.record.container(name), state=end, started=False, ready=is_done)
        self._change(self.record.changed(record))
        return end

    async def _delete(self) -> None:
        """Remove the object, for which the API server has waited."""
        if self._is_gone:
            return
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod["metadata"]["uid"]}}
        try:
            await self._services.client.insist("DELETE", self._path(), body=body)
        except ApiError as error:
            if error.status not in GONE:
                log.warning("%s: %s", self._path(), error)

    def _drop(self) -> None:
        """End everything at once, as a machine does that loses its power."""
        for task in self._sidecars:
            task.cancel()
        for life in self.lives.values():
            life.mute(*Kind)
            life.program.kill()
        self.lives.clear()
        self._unplug()
        if self.record.address:
            self._services.addresses.free(self.record.address)

    def _unplug(self) -> None:
        """Take the pod off the network."""
        self._services.network.detach(self.record.address)
        for port in self._real:
            self._services.network.unalias(self.record.address, port)

    @property
    def _real(self) -> Mapping[int, tuple[str, int]]:
        return self._services.real.get(key_of(self.pod), {})

    # --- Reports ------------------------------------------------------------------------------------------------------

    def _change(self, record: lifecycle.PodRecord) -> None:
        self.record = record
        self._dirty.set()
        self._progress.set()

    async def _keep_written(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._write()

    async def _write(self) -> None:
        """Bring the object's status up to date."""
        now = self._services.now()
        status = lifecycle.pod_status(self.pod, self.record, self._conditions, now=now)
        if status == self._written or self._is_gone:
            return
        if self._written is None or status["phase"] != self._written["phase"]:
            self.since = now
        self._written, self._conditions = status, status["conditions"]
        body = {"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": status}
        try:
            path = self._path("status")
            await self._services.client.insist("PATCH", path, body=body, content_type=STRATEGIC_MERGE)
        except ApiError as error:
            if error.status not in GONE:
                log.warning("%s: %s", self._path(), error)

    def _path(self, part: str = "") -> str:
        namespace, name = key_of(self.pod)
        return path_of("v1", "pods", namespace, name, part)

    def _tell(self, event: Event) -> None:
        self._services.recorder.record(self.pod, event)

    # --- Time ---------------------------------------------------------------------------------------------------------

    def _clock(self) -> float:
        """Simulated seconds since some moment."""
        return self._speed.simulated(asyncio.get_running_loop().time())

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(self._speed.real(seconds))


def cold_starts(release: Release, node: Body) -> dict[str, ColdStart]:
    """The cold start of each engine container of a release on this node, by the container's name."""
    instance = catalog().instances.get(dig(node, "metadata", "labels", INSTANCE_TYPE, default=""))
    return {
        str(each.container["name"]): plan.cold_start_on(instance or plan.slowest_instance)
        for each in engines_of(release)
        if (plan := plan_workload(each, release)) is not None
    }


async def first_of(*choices: Awaitable[Any]) -> None:
    """Run all until one is done, and end the others; raises what that one raised."""
    tasks = [asyncio.ensure_future(each) for each in choices]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
