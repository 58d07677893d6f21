"""The embedded cluster: up, down, status, and one that lives as long as a block of code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from chartproof import toolchain
from chartproof.cluster import control_plane, live_loop, processes, state, supervisor
from chartproof.cluster.addons import certificates, lws
from chartproof.cluster.api import Api
from chartproof.cluster.live import Live, LiveSettings
from chartproof.cluster.objects import SYSTEM_NODE
from chartproof.errors import ClusterError, UsageError
from chartproof.release import dig
from chartproof.signals import undisturbed, unwinding
from chartproof.toolchain import crds

_CRD_SECONDS = 30
_NUMBERS = count(1)
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster and the way to talk to it."""

    place: state.Place
    api: Api
    live: LiveSettings | None = None
    """Speed and ports of the live loop; None for a light cluster."""

    @property
    def kubeconfig(self) -> Path:
        """Administrator's kubeconfig, for helm and kubectl."""
        return self.place.kubeconfig

    def environment(self) -> dict[str, str]:
        """The caller's environment, with helm and kubectl directed at this cluster only."""
        directory = self.place.directory
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
        return {
            **inherited,
            "KUBECONFIG": str(self.kubeconfig),
            "KUBECACHEDIR": str(directory / "kube-cache"),
            "HELM_CACHE_HOME": str(directory / "helm" / "cache"),
            "HELM_CONFIG_HOME": str(directory / "helm" / "config"),
            "HELM_DATA_HOME": str(directory / "helm" / "data"),
        }


@dataclass(frozen=True, slots=True)
class Status:
    """What `chartproof cluster status` tells of one cluster."""

    name: str
    directory: Path
    running: bool
    nodes: int
    server: str
    speed: float | None
    """Of a live cluster; None for a light one."""
    supervised: bool
    """Whether somebody starts again what ends: a live cluster's supervisor."""
    processes: list[supervisor.ProcessStatus]
    """Of a live cluster, as its supervisor sees them."""


def up(
    name: str = state.DEFAULT_NAME,
    *,
    state_dir: Path | None = None,
    owner: state.Owner | None = None,
    live: Live | None = None,
) -> Cluster:
    """Start a cluster with all definitions, a CPU node, and the cloud that makes GPU nodes.

    With `live`, autoscaling is real: KEDA, Prometheus and Karpenter run too, and pods take their time.

    Raises UsageError where one of this name runs, ClusterError where it cannot be started; nothing
    is left running then, nor after an interrupt.
    """
    place = state.place(name, state_dir)
    # Builds may take long: before anything runs, and before others are kept waiting.
    toolchain.ensure((*toolchain.CONTROL_PLANE, *(toolchain.LIVE_LOOP if live else ())))
    with state.starting(place.root):
        _sweep(state_dir)
        if processes.of_cluster(place.directory):
            raise UsageError(
                f"the cluster {name!r} is running already",
                where=str(place.directory),
                how=f"use it, or `chartproof cluster down --name {name}`, or choose another --name",
            )
        control_plane.stop(place)
        try:
            place.claim(owner or state.Owner())
            control_plane.start(place, live_loop.control_plane_settings(place, live.pace) if live else None)
            api = Api(place.kubeconfig)
            api.create(SYSTEM_NODE)
            _define_kinds(api)
            settings = None
            if live:
                settings = live_loop.start(place, api, live.pace)
            else:
                _start_groups(place, api)
                _start_cloud(place)
        except BaseException:
            with undisturbed():
                down(name, state_dir=state_dir)
            raise
    return Cluster(place, api, settings)


def down(name: str = state.DEFAULT_NAME, *, state_dir: Path | None = None) -> bool:
    """End a cluster and remove its data, also one that crashed; False where there was none."""
    place = state.place(name, state_dir)
    existed = place.directory.exists() or bool(processes.of_cluster(place.directory))
    control_plane.stop(place)
    place.forget()
    return existed


def attach(name: str = state.DEFAULT_NAME, *, state_dir: Path | None = None) -> Cluster:
    """The cluster of this name, which must be running; raises UsageError otherwise."""
    place = state.place(name, state_dir)
    if not processes.of_cluster(place.directory):
        raise UsageError(
            f"no cluster {name!r} is running",
            where=str(place.root),
            how=f"start it: chartproof cluster up --name {name}",
        )
    return Cluster(place, Api(place.kubeconfig), LiveSettings.find(place.directory))


def status(state_dir: Path | None = None) -> list[Status]:
    """Every cluster of the state directory, running or left over from a crash."""
    return [_status(place) for place in state.places(state_dir)]


@contextmanager
def running(name: str = "", *, state_dir: Path | None = None, live: Live | None = None) -> Iterator[Cluster]:
    """A cluster for the duration of a block, ended whatever happens: error, Ctrl-C, SIGTERM.

    Without a name it gets one that nobody else uses, so that a process can have several.
    """
    chosen = name or f"run-{os.getpid()}-{next(_NUMBERS)}"
    with unwinding():
        try:
            yield up(chosen, state_dir=state_dir, owner=state.Owner(os.getpid()), live=live)
        finally:
            with undisturbed():
                down(chosen, state_dir=state_dir)


def _status(place: state.Place) -> Status:
    running = set(processes.of_cluster(place.directory))
    alive, nodes, server = bool(running), 0, ""
    if alive and place.kubeconfig.exists():
        config = yaml.safe_load(place.kubeconfig.read_text(encoding="utf-8"))
        server = config["clusters"][0]["cluster"]["server"]
        try:
            nodes = len(Api(place.kubeconfig).list("v1", "Node"))
        except ClusterError:
            alive = False
    settings = LiveSettings.find(place.directory)
    return Status(
        place.name,
        place.directory,
        alive,
        nodes,
        server,
        speed=settings.speed if settings else None,
        supervised=bool(processes.supervisors(place.directory)),
        processes=[
            # A supervisor that ended has left its last word.
            each if each.pid in running else replace(each, pid=0, healthy=False)
            for each in supervisor.status(place.directory)
        ],
    )


def _sweep(state_dir: Path | None) -> None:
    """End clusters whose process was killed before it could do so itself."""
    for place in state.places(state_dir):
        if place.owner.is_gone:
            control_plane.stop(place)
            place.forget()


def _define_kinds(api: Api) -> None:
    """Apply every CustomResourceDefinition and wait until the server serves them."""
    definitions = [
        yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        for path in sorted(crds.directory().glob("*.yaml"))
    ]
    for each in definitions:
        api.apply(each)
    deadline = time.monotonic() + _CRD_SECONDS
    for each in definitions:
        while not _is_established(api, each):
            if time.monotonic() > deadline:
                raise ClusterError(
                    "the API server does not serve the definition",
                    where=each["metadata"]["name"],
                    how="see `kubectl describe crd` and the API server's log",
                )
            time.sleep(_PAUSE_SECONDS)
    api.forget_resources()


def _is_established(api: Api, definition: dict[str, Any]) -> bool:
    kind = "CustomResourceDefinition"
    found = api.find("apiextensions.k8s.io/v1", kind, definition["metadata"]["name"])
    conditions = dig(found, "status", "conditions") or ()
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)


def _start_groups(place: state.Place, api: Api) -> None:
    """Start the controller of LeaderWorkerSets; in a light cluster nobody starts it again."""
    programs = processes.linked(place.directory, toolchain.ensure((lws.PROGRAM,)))
    certificates.copy_certificates(place.directory)
    ports = lws.Ports.choose()
    lws.prepare(place.directory, ports)
    for each in lws.objects(ports, place.directory):
        api.apply(each)
    processes.detach(lws.process(place, ports, programs), place.logs)
    lws.await_admission(api, place.logs)


def _start_cloud(place: state.Place) -> None:
    """Start the process that makes nodes and volumes; it detaches itself and outlives us."""
    with (place.logs / "cloud.log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "chartproof.cluster.cloud", str(place.directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )
