"""Starts the live loop of a cluster: KEDA, Prometheus, Karpenter and the played machines, under a supervisor."""

from __future__ import annotations

import importlib.util
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chartproof import toolchain
from chartproof.cluster import control_plane, processes, supervisor
from chartproof.cluster.addons import certificates, karpenter, keda, kube_state_metrics, lws, prometheus
from chartproof.cluster.api import Api
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.ports import LOOPBACK
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.speed import Speed
from chartproof.cluster.state import Place
from chartproof.errors import ClusterError
from chartproof.release import dig
from chartproof.toolchain import pins

_READY_SECONDS = 90
_PAUSE_SECONDS = 0.1
_SHOWN_LINES = 5
_MACHINES = "chartproof.cluster.machines"

ADMINISTRATOR = "kwok-admin"
"""Whom kwokctl's certificate names (kwok v0.8 `pkg/kwokctl/pki`); the API server forwards with it too."""

#: Kubernetes' own values of what is divided by the speed, in seconds. Source: Kubernetes 1.36, `--help`.
_SYNC, _STABILIZATION, _CPU_INITIALIZATION, _INITIAL_READINESS = 15.0, 300.0, 300.0, 30.0
_TOLERATION, _NODE_MONITOR = 300.0, 5.0
_EVICTIONS_PER_SECOND = 0.1
_LONGEST_SCHEDULING_BACK_OFF = 10.0
_REQUESTS_PER_SECOND, _BURST = 20, 30

_SHORTEST_NODE_MONITOR = 0.5
_NODE_GRACE_SECONDS, _NODE_LEASE_SECONDS = 60, 40
"""Real time: nothing but kwok's own pace decides whether its nodes look alive, and a lost node is said to be lost."""


def control_plane_settings(place: Place, speed: Speed) -> control_plane.Settings:
    """What the control plane needs: aggregation for the metrics adapter, faster autoscaling, pods left to us."""
    return control_plane.Settings(
        arguments={
            "kube-apiserver": {
                # The adapter takes its callers from these headers. One authority signs every certificate here, so the
                # one that may set them is named.
                "requestheader-client-ca-file": str(place.directory / "pki" / "ca.crt"),
                "requestheader-allowed-names": ADMINISTRATOR,
                "requestheader-username-headers": "X-Remote-User",
                "requestheader-group-headers": "X-Remote-Group",
                "requestheader-extra-headers-prefix": "X-Remote-Extra-",
                "default-not-ready-toleration-seconds": str(_whole(speed.real(_TOLERATION))),
                "default-unreachable-toleration-seconds": str(_whole(speed.real(_TOLERATION))),
            },
            "kube-controller-manager": {
                "horizontal-pod-autoscaler-sync-period": _duration(speed.real(_SYNC)),
                "horizontal-pod-autoscaler-downscale-stabilization": _duration(speed.real(_STABILIZATION)),
                "horizontal-pod-autoscaler-cpu-initialization-period": _duration(speed.real(_CPU_INITIALIZATION)),
                "horizontal-pod-autoscaler-initial-readiness-delay": _duration(speed.real(_INITIAL_READINESS)),
                # There is one of each; after a kill the next would wait for the last one's lease, in real seconds.
                "leader-elect": "false",
                "node-eviction-rate": f"{speed.simulated(_EVICTIONS_PER_SECOND):g}",
                "kube-api-qps": str(_whole(speed.simulated(_REQUESTS_PER_SECOND))),
                "kube-api-burst": str(_whole(speed.simulated(_BURST))),
            },
            "kwok-controller": {
                # Said again, the later one counts. Karpenter's provider marks its nodes so; a lost one loses the mark.
                "manage-all-nodes": "false",
                "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
            },
        },
        options={
            "kubeApiserverCertSANs": list(keda.CERTIFICATE_NAMES),
            "kubeControllerManagerNodeMonitorPeriodMilliseconds": round(
                max(speed.real(_NODE_MONITOR), _SHORTEST_NODE_MONITOR) * 1000
            ),
            "kubeControllerManagerNodeMonitorGracePeriodMilliseconds": _NODE_GRACE_SECONDS * 1000,
            "nodeLeaseDurationSeconds": _NODE_LEASE_SECONDS,
            "heartbeatFactor": 1,
        },
        stages=(NODE_STAGE,),
        scheduler={
            "podMaxBackoffSeconds": _whole(speed.real(_LONGEST_SCHEDULING_BACK_OFF)),
            "leaderElection": {"leaderElect": False},
        },
    )


NODE_STAGE: Mapping[str, Any] = {
    "apiVersion": "kwok.x-k8s.io/v1alpha1",
    "kind": "Stage",
    "metadata": {"name": "node-ready"},
    "spec": {
        "resourceRef": {"apiGroup": "v1", "kind": "Node"},
        "selector": {
            "matchExpressions": [
                {
                    "key": '.status.conditions.[] | select( .type == "Ready" ) | .status',
                    "operator": "NotIn",
                    "values": ["True"],
                }
            ]
        },
        "next": {
            "statusTemplate": """
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
{{ end }}
phase: Running
"""
        },
    },
}
"""All that kwok does here: nodes become ready, and it renews their leases. Where it has any stage it has no others, and
without one for pods it starts no controller for them (kwok v0.8 `pkg/kwokctl/runtime/cluster.go` `Save`,
`pkg/kwok/controllers/controller.go` `Start`)."""


def start(place: Place, api: Api, speed: Speed) -> LiveSettings:
    """Start the live loop beside a control plane that serves all definitions, and wait until all of it is well.

    Takes 2 to 5 s. Raises ClusterError, with what the unwell programs said last.
    """
    programs = processes.linked(place.directory, toolchain.ensure((*toolchain.LIVE_LOOP, lws.PROGRAM)))
    # As late as possible: until they are used, another program may take the ports.
    settings = LiveSettings.choose(speed)
    settings.save(place.directory)
    certificates.copy_certificates(place.directory)
    prometheus.prepare(place.directory, speed)
    lws.prepare(place.directory, groups_of(settings))
    for each in objects(place, settings):
        api.apply(each)
    lws.save_token(api, place.directory)
    supervisor.write_list(place.directory, processes_of(place, settings, programs))
    _start_supervisor(place)
    _await_health(place)
    # Their health is that of another port: these open only when their caches are filled.
    for port in (settings.keda_service_port, settings.keda_webhooks_port):
        _await_connection(place, port)
    _await_metrics_api(place, api)
    lws.await_admission(api, place.logs)
    return settings


def groups_of(settings: LiveSettings) -> lws.Ports:
    """Where the controller of LeaderWorkerSets listens."""
    return lws.Ports(settings.lws_webhooks_port, settings.lws_health_port, settings.lws_metrics_port)


def objects(place: Place, settings: LiveSettings) -> list[Mapping[str, Any]]:
    """Everything that the programs expect on the server, in an order that works."""
    found = [
        *keda.objects(settings, place.directory),
        *lws.objects(groups_of(settings), place.directory),
        *prometheus.objects(settings, _prometheus_version(), lws.token_file(place.directory)),
    ]
    return sorted(found, key=lambda each: each["kind"] != "Namespace")


def processes_of(place: Place, settings: LiveSettings, programs: Mapping[str, Path]) -> list[ProcessSpec]:
    """Everything that the supervisor keeps running beside the control plane."""
    found = [
        *keda.processes(place, settings, programs),
        *prometheus.processes(place, settings, programs, sys.executable),
        kube_state_metrics.process(place, settings, programs),
        karpenter.process(place, settings),
        lws.process(place, groups_of(settings), programs),
    ]
    if importlib.util.find_spec(f"{_MACHINES}.__main__"):
        found.append(
            ProcessSpec(
                "machines",
                (sys.executable, "-m", _MACHINES, str(place.directory)),
                health=f"http://{LOOPBACK}:{settings.control_port}/state",
            )
        )
    return found


def _prometheus_version() -> str:
    return pins.modules()["prometheus"].version


def _start_supervisor(place: Place) -> None:
    """Start the process that starts and keeps the others; it detaches itself and outlives us."""
    with (place.logs / "supervisor.log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "chartproof.cluster.supervisor", str(place.directory)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )


def _await_health(place: Place) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        known = supervisor.status(place.directory)
        unwell = [each.name for each in known if not each.healthy]
        if known and not unwell:
            return
        if time.monotonic() > deadline:
            raise ClusterError(
                f"not well after {_READY_SECONDS} s: {', '.join(unwell) or 'the supervisor'}\n{_last(place, unwell)}",
                where=str(place.logs),
                how="see what they said above",
            )
        time.sleep(_PAUSE_SECONDS)


def _await_connection(place: Place, port: int) -> None:
    """Wait until something listens on a port."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            socket.create_connection((LOOPBACK, port), timeout=_PAUSE_SECONDS).close()
        except OSError:
            if time.monotonic() > deadline:
                raise ClusterError(f"nothing listens on port {port} of KEDA", where=str(place.logs)) from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _await_metrics_api(place: Place, api: Api) -> None:
    """Wait until the API server forwards questions for external metrics to KEDA's adapter."""
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        found = api.find("apiregistration.k8s.io/v1", "APIService", keda.API_SERVICE)
        available = [each for each in dig(found, "status", "conditions", default=()) if each["type"] == "Available"]
        if any(each["status"] == "True" for each in available):
            return
        if time.monotonic() > deadline:
            reason = ", ".join(str(each.get("message")) for each in available)
            raise ClusterError(
                f"KEDA's metrics API is not available: {reason}\n{_last(place, ['keda-adapter'])}",
                where=str(place.logs),
            )
        time.sleep(_PAUSE_SECONDS)


def _last(place: Place, names: Iterable[str]) -> str:
    """The last lines of programs' logs."""
    found = []
    for name in names:
        log = place.logs / f"{name}.log"
        if log.exists():
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_SHOWN_LINES:]
            found += [f"{name}: {each}" for each in lines]
    return "\n".join(found)


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _whole(number: float) -> int:
    return max(1, math.ceil(number))
