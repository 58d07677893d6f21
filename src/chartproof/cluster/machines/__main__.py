"""Plays the machines of a live cluster: kubelets, engines, GPUs, pod network, front door, volumes; one process.

    python -m chartproof.cluster.machines DIRECTORY

Runs until SIGTERM or SIGINT. A part that fails is said in the log and begun again; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from chartproof.cluster.addons import karpenter, prometheus
from chartproof.cluster.api import Api, ApiError
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.machines.control import Control
from chartproof.cluster.machines.endpoints import Endpoints
from chartproof.cluster.machines.faults import Faults
from chartproof.cluster.machines.front_door import FrontDoor
from chartproof.cluster.machines.gpus import GpuRegistry
from chartproof.cluster.machines.groups import Groups
from chartproof.cluster.machines.kubelet import Kubelets
from chartproof.cluster.machines.live_release import Surroundings
from chartproof.cluster.machines.network import Network
from chartproof.cluster.machines.passage import Passage
from chartproof.cluster.machines.programs import PodContext, server_for
from chartproof.cluster.machines.real_containers import Given, RealContainers, kind_of
from chartproof.cluster.machines.routes import Routes
from chartproof.cluster.machines.server import Server
from chartproof.cluster.machines.watch import Client, Watch, pauses
from chartproof.cluster.ports import LOOPBACK
from chartproof.cluster.speed import Speed
from chartproof.cluster.state import Place
from chartproof.cluster.volumes import Volumes
from chartproof.errors import ChartproofError

Body = Mapping[str, Any]

#: Kinds whose pod templates say which engines there are.
_WORKLOADS = (
    ("apps/v1", "deployments"),
    ("apps/v1", "statefulsets"),
    ("leaderworkerset.x-k8s.io/v1", "leaderworkersets"),
)
#: A part that has run for so many real seconds is begun again without a pause when it fails.
_SETTLED_SECONDS = 60.0

log = logging.getLogger("chartproof.machines")


async def serve(directory: Path) -> None:
    """Play the machines of the cluster in `directory` until cancelled; raises ChartproofError where it cannot begin."""
    place = Place(directory.parent.parent, directory.name)
    settings = LiveSettings.load(directory)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(place.kubeconfig))
        parts = await _parts(client, Api(place.kubeconfig), place, settings, stack)
        tasks = [asyncio.create_task(tend(name, work), name=name) for name, work in parts.items()]
        log.info("playing %s at speed %g", directory.name, settings.speed)
        try:
            await asyncio.gather(*tasks)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _parts(
    client: Client, api: Api, place: Place, settings: LiveSettings, stack: AsyncExitStack
) -> dict[str, Callable[[], Awaitable[None]]]:
    """Everything that is to be kept running, by name; ports are open when this returns."""
    speed = settings.pace
    watches = {
        plural: Watch(client, version, plural)
        for version, plural in (
            *(("v1", "pods"), ("v1", "nodes"), ("v1", "services"), ("discovery.k8s.io/v1", "endpointslices")),
            *(("v1", "persistentvolumeclaims"), ("v1", "persistentvolumes"), ("karpenter.sh/v1", "nodeclaims")),
            *_WORKLOADS,
        )
    }
    endpoints, routes = Endpoints(), Routes()
    watches["services"].on_change(endpoints.service_changed)
    watches["endpointslices"].on_change(endpoints.slice_changed)
    watches["services"].on_change(routes.service_changed)
    for _, plural in _WORKLOADS:
        watches[plural].on_change(routes.workload_changed)

    passage = Passage()
    stack.push_async_callback(passage.close)
    network = Network(endpoints)
    front_door = FrontDoor(network, endpoints, routes, speed)
    kubelets = Kubelets(
        client,
        watches["pods"],
        watches["nodes"],
        network,
        speed,
        _programs(speed, RealContainers(place.directory, settings.network_port, passage), Groups(endpoints.resolve)),
        real={prometheus.POD: {prometheus.PORT: (LOOPBACK, settings.prometheus_port)}},
    )
    control = Control(kubelets, Faults(api, client, kubelets, speed), network, speed, front_door.held)
    await network.start(settings.network_port)
    stack.push_async_callback(network.stop)
    await front_door.start(settings.front_door_port)
    stack.push_async_callback(front_door.stop)

    volumes = Volumes(api)
    return {
        **{f"watch of {plural}": each.run for plural, each in watches.items()},
        "kubelets": kubelets.run,
        "control": lambda: control.serve(settings.control_port),
        "volumes": _whenever((watches["persistentvolumeclaims"], watches["persistentvolumes"]), volumes.step),
        "capacity": _whenever((watches["nodes"], watches["nodeclaims"]), lambda: karpenter.report_capacity(api)),
    }


def _programs(
    speed: Speed, containers: RealContainers, groups: Groups
) -> Callable[[Body, Body, Body, Surroundings], Server | None]:
    """Says which program a container runs."""
    gpus = GpuRegistry(speed)

    def program(pod: Body, container: Body, node: Body, surroundings: Surroundings) -> Server | None:
        environment = surroundings.environment.get(container["name"], {})
        if (kind := kind_of(container)) is not None:
            given = Given(surroundings.release, environment, surroundings.token)
            return containers.program(pod, container, kind, given)
        return server_for(pod, container, PodContext(speed, node, surroundings.release, gpus, environment, groups))

    return program


def _whenever(watches: tuple[Watch, ...], step: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    """Take a step (that blocks) whenever something of this kind has changed."""
    changed = asyncio.Event()
    for each in watches:
        each.on_change(lambda _change, _body: changed.set())

    async def work() -> None:
        waits = pauses()
        while True:
            await changed.wait()
            changed.clear()
            try:
                await asyncio.to_thread(step)
                waits = pauses()
            except ApiError as error:
                # Objects change while they are read, and servers are restarted.
                log.info("%s", error)
                changed.set()
                await asyncio.sleep(next(waits))

    return work


async def tend(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run a part for ever: what ends or fails is begun again, after growing pauses."""
    clock, waits = asyncio.get_running_loop().time, pauses()
    while True:
        begun = clock()
        try:
            await work()
            log.error("%s ended", name)
        except Exception:
            log.exception("%s failed", name)
        if clock() - begun > _SETTLED_SECONDS:
            waits = pauses()
        await asyncio.sleep(next(waits))


async def _until_told(directory: Path) -> None:
    """Serve until a signal says to end."""
    serving = asyncio.create_task(serve(directory))
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        log.info("ended")


def main(directory: Path) -> int:
    """Run; the exit code."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_until_told(directory))
    except ChartproofError as error:
        log.error("%s", error)  # noqa: TRY400  (the message says what to do; a trace would not help)
        return int(error.exit_code)
    except OSError as error:
        log.error("cannot listen: %s", error)  # noqa: TRY400  (as above)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
