"""Starts a control plane from our own programs: kwokctl's binary runtime, on loopback only."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chartproof import toolchain
from chartproof.cluster import processes
from chartproof.cluster.ports import LOOPBACK, free_ports
from chartproof.cluster.state import Place
from chartproof.errors import ClusterError

_READY_SECONDS = 90
_ATTEMPTS = 3
_SHOWN_LINES = 15

_PORT_OPTIONS = (
    "etcdPort",
    "etcdPeerPort",
    "kubeApiserverPort",
    "kubeControllerManagerPort",
    "kubeSchedulerPort",
    "kwokControllerPort",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a control plane has beyond kwokctl's defaults."""

    arguments: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Further options, by component and name (without hyphens before it)."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Of kwokctl itself."""
    stages: tuple[Mapping[str, Any], ...] = ()
    """What kwok plays, instead of nodes and pods that become ready at once."""
    scheduler: Mapping[str, object] = field(default_factory=dict)
    """Fields of its KubeSchedulerConfiguration."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of every program."""


def start(place: Place, settings: Settings | None = None) -> None:
    """Start etcd, API server, controller manager, scheduler and kwok, and wait until ready.

    Takes 3 to 5 s. Raises ClusterError with the last lines of the log that explains it.
    """
    programs = toolchain.ensure(toolchain.CONTROL_PLANE)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _create(place, programs, settings or Settings())
        except ClusterError as error:
            # Between choosing a port and using it, another program may take it.
            if attempt == _ATTEMPTS or "address already in use" not in str(error):
                raise
            stop(place)
    return None


def stop(place: Place) -> None:
    """End every process of the cluster and remove its data; nothing to do is fine."""
    processes.end(place.directory)
    shutil.rmtree(place.directory, ignore_errors=True)


def _create(place: Place, programs: Mapping[str, Path], settings: Settings) -> None:
    place.directory.mkdir(parents=True, exist_ok=True)
    file, scheduler = (place.root / f"{place.name}.{each}.yaml" for each in ("kwokctl", "scheduler"))
    file.write_text(yaml.safe_dump_all([_kwokctl(settings, scheduler), *settings.stages]), encoding="utf-8")
    scheduler.write_text(yaml.safe_dump({**_SCHEDULER, **settings.scheduler}), encoding="utf-8")
    command = [
        *(str(programs["kwokctl"]), "--name", place.name, "--config", str(file)),
        *("create", "cluster", "--runtime", "binary", "--wait", f"{_READY_SECONDS}s"),
        # Empty: the user's own kubeconfig is none of our business.
        *("--kubeconfig", ""),
        *("--etcd-binary", str(programs["etcd"])),
        *("--kwok-controller-binary", str(programs["kwok"])),
    ]
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        command += [f"--{name}-binary", str(programs[name])]
    try:
        _run(command, place, programs, settings.environment)
    finally:
        for each in (file, scheduler):
            each.unlink(missing_ok=True)


_SCHEDULER = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def _kwokctl(settings: Settings, scheduler: Path) -> dict[str, object]:
    """Configuration of kwokctl that has no flag: everything listens on the loopback interface."""
    ports = dict(zip(_PORT_OPTIONS, free_ports(len(_PORT_OPTIONS)), strict=True))
    return {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokctlConfiguration",
        "options": {
            "bindAddress": LOOPBACK,
            **ports,
            **({"kubeSchedulerConfig": str(scheduler)} if settings.scheduler else {}),
            **settings.options,
        },
        "componentsPatches": [
            {"name": component, "extraArgs": [{"key": key, "value": value} for key, value in arguments.items()]}
            for component, arguments in settings.arguments.items()
        ],
    }


def _run(command: list[str], place: Place, programs: Mapping[str, Path], environment: Mapping[str, str]) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KWOK_")}
    with subprocess.Popen(
        command,
        env={
            **inherited,
            **environment,
            "KWOK_WORKDIR": str(place.root),
            # kwokctl calls kubectl, which would fill the user's ~/.kube/cache.
            "KUBECACHEDIR": str(place.directory / "kube-cache"),
            "PATH": f"{programs['kubectl'].parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # An interrupt must not end kwokctl between starting a program and noting it: we end both.
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=2 * _READY_SECONDS)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        last = "\n".join(output.strip().splitlines()[-_SHOWN_LINES:])
        raise ClusterError(
            f"the control plane did not start:\n{last}\n{_complaints(place)}".rstrip(),
            where=str(place.directory),
            how="see the last lines above; run `chartproof cluster down` to clean up",
        )


def _complaints(place: Place) -> str:
    """Last line of each program's log: a program that ended says why there."""
    last = []
    for log in sorted(place.logs.glob("*.log")):
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines:
            last.append(f"{log.stem}: {lines[-1]}")
    return "\n".join(last)
