"""The life of a pod on its node, as a kubelet reports it: pure functions of pod, plan and clock.

Statuses, conditions and events have the shapes and words of the real kubelet (Kubernetes 1.36: `pkg/kubelet`,
there `kubelet_pods.go`, `status/generate.go`, `kuberuntime/kuberuntime_manager.go`, `images/image_manager.go`),
because controllers, kube-state-metrics and people read them. All durations are simulated seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from math import inf
from typing import Any

from chartproof.plan import ColdStart
from chartproof.release import dig

Body = Mapping[str, Any]

#: What a kubelet gives every container between SIGTERM and SIGKILL, whatever the pod says.
MINIMUM_GRACE_SECONDS = 2.0
#: `terminationGracePeriodSeconds` where the pod has none.
DEFAULT_GRACE_SECONDS = 30.0
#: How long a program runs that does one thing and ends, where no plan knows better: a Job, a hook, a check.
ERRAND_SECONDS = 1.0

#: Between two attempts to make a container that cannot be made (the pod worker's `backOffPeriod`).
SYNC_SECONDS = 10.0

_FIRST_BACK_OFF, _LONGEST_BACK_OFF = 10.0, 300.0
_SLEEP = re.compile(r"\bsleep\s+(\d+(?:\.\d+)?)([smh]?)\b")
_SLEEP_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}

_EXIT_UNKNOWN = 137
_UNKNOWN = "ContainerStatusUnknown"
_UNKNOWN_MESSAGE = "The container could not be located when the pod was terminated"


# --- What happens before the containers run ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds that a node needs for a pod before its containers run.

    `sandbox` is until containers can be made at all (volumes, address); `pulls` has the images that take time,
    `errands` the init containers (and others that end by themselves) that take more than ERRAND_SECONDS.
    """

    sandbox: float = 0.0
    pulls: Mapping[str, float] = field(default_factory=dict)
    errands: Mapping[str, float] = field(default_factory=dict)

    def errand(self, container: Body) -> float:
        """Seconds that a container runs which ends by itself."""
        return self.errands.get(container["name"], ERRAND_SECONDS)


def timing(pod: Body, plans: Mapping[str, ColdStart]) -> Timing:
    """When which phase of the plan happens; `plans` has the cold start of each engine container by its name.

    A pod without an engine waits for nothing. The download of weights is the work of the init container that
    speaks of them; what the engine's own process does (`in_container`) is the engine's business.
    """
    images = {each["name"]: each.get("image", "") for each in dig(pod, "spec", "containers", default=())}
    sandbox, pulls, errands = 0.0, dict[str, float](), dict[str, float]()
    for name, cold_start in plans.items():
        if name not in images:
            continue  # of another pod of its group
        seconds = {each.name: each.seconds for each in cold_start.phases if not each.in_container}
        sandbox = max(sandbox, seconds.get("container start", 0.0))
        image = images[name]
        pulls[image] = max(pulls.get(image, 0.0), seconds.get("image pull", 0.0))
        downloader = _downloader(pod)
        if downloader and "weights download" in seconds:
            errands[downloader] = seconds["weights download"]
    return Timing(sandbox, pulls, errands)


_WEIGHTS = re.compile(r"weight|model|hugging|snapshot|s3:|gs:", re.IGNORECASE)


def _downloader(pod: Body) -> str:
    """Name of the init container that brings the weights; empty where none does."""
    for each in dig(pod, "spec", "initContainers", default=()):
        if not is_sidecar(each) and _WEIGHTS.search(str([each.get(key) for key in ("name", "command", "args", "env")])):
            return str(each["name"])
    return ""


def is_sidecar(init_container: Body) -> bool:
    """Whether an init container keeps running beside the others."""
    return init_container.get("restartPolicy") == "Always"


def ends_by_itself(pod: Body, container: Body, *, init: bool) -> bool:
    """Whether a program of which nothing is known does one thing and ends: in Jobs, hooks and init containers."""
    if init:
        return not is_sidecar(container)
    return bool(dig(pod, "spec", "restartPolicy", default="Always") != "Always")


def hook_seconds(hook: Any) -> float:
    """How long a lifecycle hook takes: its sleep, or that in the words of its command; anything else, no time."""
    if (seconds := dig(hook, "sleep", "seconds")) is not None:
        return float(seconds)
    words = " ".join(str(each) for each in dig(hook, "exec", "command", default=()))
    return sum(float(number) * _SLEEP_UNITS[unit] for number, unit in _SLEEP.findall(words))


def grace_seconds(pod: Body, probe: Any = None) -> float:
    """Seconds from the wish to end a container to its kill: of the deletion, the failed probe, or the pod."""
    for given in (
        dig(pod, "metadata", "deletionGracePeriodSeconds"),
        dig(probe, "terminationGracePeriodSeconds"),
        dig(pod, "spec", "terminationGracePeriodSeconds"),
    ):
        if given is not None:
            return float(given)
    return DEFAULT_GRACE_SECONDS


# --- Restarts ---------------------------------------------------------------------------------------------------------


def restarts(pod: Body, container: Body, code: int, *, init: bool = False) -> bool:
    """Whether a container that ended with `code` is started again."""
    if init and is_sidecar(container):
        return True
    policy = (not init and container.get("restartPolicy")) or dig(pod, "spec", "restartPolicy", default="Always")
    if init:
        # An init container that has done its work is done, also where the pod's others restart always.
        return code != 0 and policy != "Never"
    return bool(policy == "Always" or (policy == "OnFailure" and code != 0))


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long a container that keeps ending must wait: 10 s, doubled up to 300 s; the first restart is at once.

    Forgotten once the container has run for twice the longest wait (client-go `util/flowcontrol/backoff.go`).
    """

    seconds: float = 0.0
    restarted: float = -inf

    def wait(self, finished: float) -> float:
        """Seconds from the container's end at `finished` to its next start."""
        return 0.0 if self._expired(finished) else self.seconds

    def next(self, finished: float, now: float) -> BackOff:
        """After the restart at `now` of a container that ended at `finished`."""
        if self._expired(finished):
            return BackOff(_FIRST_BACK_OFF, now)
        return BackOff(min(2 * self.seconds, _LONGEST_BACK_OFF), now)

    def _expired(self, finished: float) -> bool:
        return finished - self.restarted > 2 * _LONGEST_BACK_OFF


# --- States and statuses ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running yet, or not again yet; `reason` as `kubectl get pods` shows it."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Running since a time of the wall clock."""

    since: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    """Ended with an exit code, for a reason: Completed, Error, OOMKilled."""

    code: int
    reason: str
    started: datetime | None = None
    finished: datetime | None = None
    message: str = ""
    identity: str = ""


State = Waiting | Running | Terminated


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """What the kubelet knows of one container.

    `last` is how its previous life ended, `restarts` how many it had. `started`: its startup probe passed (or
    it has none); `ready`: its readiness probe passes (or it has none), or it is an init container that is done.
    """

    name: str
    image: str
    state: State
    last: Terminated | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    identity: str = ""


@dataclass(frozen=True, slots=True)
class PodRecord:
    """What the kubelet knows of a pod. `over`: it ends, or has ended, and nothing of it is started again."""

    begun: datetime
    host_address: str
    address: str = ""
    init: tuple[ContainerRecord, ...] = ()
    containers: tuple[ContainerRecord, ...] = ()
    over: bool = False

    def container(self, name: str) -> ContainerRecord:
        """The container of this name."""
        return next(each for each in (*self.init, *self.containers) if each.name == name)

    def changed(self, record: ContainerRecord) -> PodRecord:
        """The same with one container's record replaced."""
        return replace(
            self,
            init=tuple(record if each.name == record.name else each for each in self.init),
            containers=tuple(record if each.name == record.name else each for each in self.containers),
        )


def first_record(pod: Body, *, now: datetime, host_address: str) -> PodRecord:
    """A pod's record before anything was done for it on this node.

    A status that says more is from before the machine was restarted: containers that ran then are gone, which
    counts as a restart; init containers run again.
    """
    init = dig(pod, "spec", "initContainers", default=())
    # While init containers have yet to run, also they themselves wait for "the pod's initialisation".
    reason = "PodInitializing" if init else "ContainerCreating"
    before = {
        each["name"]: each
        for key in ("containerStatuses", "initContainerStatuses")
        for each in dig(pod, "status", key, default=())
    }

    def record(container: Body) -> ContainerRecord:
        known = before.get(container["name"], {})
        last = _terminated(dig(known, "lastState", "terminated")) or _terminated(dig(known, "state", "terminated"))
        count = int(known.get("restartCount", 0))
        if dig(known, "state", "running"):
            last, count = Terminated(_EXIT_UNKNOWN, _UNKNOWN, message=_UNKNOWN_MESSAGE), count + 1
        return ContainerRecord(container["name"], container.get("image", ""), Waiting(reason), last, count)

    return PodRecord(
        begun=_time(dig(pod, "status", "startTime")) or now,
        host_address=host_address,
        init=tuple(record(each) for each in init),
        containers=tuple(record(each) for each in dig(pod, "spec", "containers", default=())),
    )


def ended(record: PodRecord) -> PodRecord:
    """A pod's record when its last container has ended: what never ran will not run any more."""

    def end(container: ContainerRecord) -> ContainerRecord:
        if isinstance(container.state, Terminated):
            return container
        unknown = Terminated(_EXIT_UNKNOWN, _UNKNOWN, message=_UNKNOWN_MESSAGE)
        return replace(container, state=unknown, started=False, ready=False)

    return replace(record, init=tuple(map(end, record.init)), containers=tuple(map(end, record.containers)), over=True)


def phase(pod: Body, record: PodRecord) -> str:
    """The pod's phase: `getPhase` of the kubelet, without its restart rules."""
    bodies = {each["name"]: each for each in dig(pod, "spec", "initContainers", default=())}
    ordinary = [each for each in record.init if not is_sidecar(bodies[each.name])]
    sidecars = [each for each in record.init if is_sidecar(bodies[each.name])]
    if any(_failed_for_good(pod, bodies[each.name], each) for each in ordinary):
        return "Failed"
    stopped = [end for each in record.containers if (end := _end(each)) is not None]
    waiting = [each for each in record.containers if isinstance(each.state, Waiting) and each.last is None]
    running = [each for each in (*record.containers, *sidecars) if isinstance(each.state, Running)]
    initialised = any(not isinstance(each.state, Waiting) or each.last for each in record.containers)
    pending = any(_end(each) is None for each in ordinary) or (
        not initialised and any(not each.started for each in sidecars)
    )
    if pending or waiting:
        found = "Pending"
    elif running:
        found = "Running"
    elif not stopped:
        found = "Pending"
    else:
        again = not record.over and any(
            restarts(pod, body, end.code)
            for body, each in zip(dig(pod, "spec", "containers", default=()), record.containers, strict=True)
            if (end := _end(each)) is not None
        )
        succeeded = all(each.code == 0 for each in stopped)
        found = "Running" if again else "Succeeded" if succeeded else "Failed"
    # A pod that is over has a phase from which there is no return (the status manager's `TerminatePod`).
    return "Failed" if record.over and found in {"Pending", "Running"} and not running else found


def pod_status(pod: Body, record: PodRecord, before: Sequence[Body], *, now: datetime) -> dict[str, Any]:
    """The `status` that the kubelet writes; `before` are the conditions it wrote last, for their transition times."""
    found = phase(pod, record)
    status: dict[str, Any] = {
        "observedGeneration": dig(pod, "metadata", "generation", default=1),
        "phase": found,
        "conditions": conditions(pod, record, found, before, now=now),
        "hostIP": record.host_address,
        "hostIPs": [{"ip": record.host_address}],
        "startTime": timestamp(record.begun),
        "containerStatuses": [_container_status(each) for each in sorted(record.containers, key=lambda it: it.name)],
    }
    if record.address:
        status |= {"podIP": record.address, "podIPs": [{"ip": record.address}]}
    if record.init:
        status["initContainerStatuses"] = [_container_status(each) for each in record.init]
    return status


def conditions(
    pod: Body, record: PodRecord, phase_: str, before: Sequence[Body], *, now: datetime
) -> list[dict[str, Any]]:
    """The kubelet's own five conditions (`status/generate.go`), each with the time of its last change."""
    ready_containers = _containers_ready(pod, record, phase_)
    found = [
        ("PodReadyToStartContainers", (bool(record.address) and not record.over, "", "")),
        ("Initialized", _initialised(pod, record, phase_)),
        ("Ready", _ready(pod, ready_containers)),
        ("ContainersReady", ready_containers),
        ("PodScheduled", (True, "", "")),
    ]
    known = {each["type"]: each for each in before}
    return [_condition(pod, kind, *verdict, known.get(kind), now=now) for kind, verdict in found]


Verdict = tuple[bool, str, str]


def _containers_ready(pod: Body, record: PodRecord, phase_: str) -> Verdict:
    if phase_ == "Succeeded":
        return False, "PodCompleted", ""
    if phase_ == "Failed":
        return False, "PodFailed", ""
    sidecars = {each["name"] for each in dig(pod, "spec", "initContainers", default=()) if is_sidecar(each)}
    counted = [each for each in record.init if each.name in sidecars] + list(record.containers)
    unready = [each.name for each in counted if not each.ready]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _ready(pod: Body, containers_ready: Verdict) -> Verdict:
    if not containers_ready[0]:
        return containers_ready
    met = {each["type"]: each["status"] for each in dig(pod, "status", "conditions", default=())}
    messages = []
    for each in dig(pod, "spec", "readinessGates", default=()):
        kind = each["conditionType"]
        if kind not in met:
            messages.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif met[kind] != "True":
            messages.append(f'the status of pod readiness gate "{kind}" is not "True", but {met[kind]}')
    return (False, "ReadinessGatesNotReady", ", ".join(messages)) if messages else (True, "", "")


def _initialised(pod: Body, record: PodRecord, phase_: str) -> Verdict:
    if phase_ == "Succeeded":
        return True, "PodCompleted", ""
    if any(isinstance(each.state, Running) or _end(each) is not None for each in record.containers):
        return True, "", ""
    sidecars = {each["name"] for each in dig(pod, "spec", "initContainers", default=()) if is_sidecar(each)}
    incomplete = [each.name for each in record.init if not (each.started if each.name in sidecars else each.ready)]
    if incomplete:
        return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(incomplete)}]"
    return True, "", ""


def _condition(
    pod: Body, kind: str, holds: bool, reason: str, message: str, before: Body | None, *, now: datetime
) -> dict[str, Any]:
    status = "True" if holds else "False"
    same = before is not None and before.get("status") == status
    return {
        "type": kind,
        "status": status,
        "observedGeneration": dig(pod, "metadata", "generation", default=1),
        "lastProbeTime": None,
        "lastTransitionTime": (before or {}).get("lastTransitionTime") if same else timestamp(now),
        # Null, not left out: a patch would keep the words of an earlier state.
        "reason": reason or None,
        "message": message or None,
    }


def _container_status(record: ContainerRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "image": record.image,
        # No image was pulled; the same name always gets the same stand-in for a digest.
        "imageID": f"{record.image}@sha256:{sha256(record.image.encode()).hexdigest()}" if record.identity else "",
        "containerID": record.identity,
        "restartCount": record.restarts,
        "started": record.started,
        "ready": record.ready,
        "state": _state(record.state),
        "lastState": _state(record.last) if record.last else {},
    }


def _state(state: State) -> dict[str, Any]:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason, **({"message": message} if message else {})}}
        case Running(since):
            return {"running": {"startedAt": timestamp(since)}}
        case Terminated(code, reason, started, finished, message, identity):
            told = {
                "startedAt": timestamp(started) if started else None,
                "finishedAt": timestamp(finished) if finished else None,
                "message": message,
                "containerID": identity,
            }
            return {"terminated": {"exitCode": code, "reason": reason, **{key: it for key, it in told.items() if it}}}


def _end(record: ContainerRecord) -> Terminated | None:
    """How a container ended that is over, or waits for its next life."""
    if isinstance(record.state, Terminated):
        return record.state
    return record.last if isinstance(record.state, Waiting) else None


def _failed_for_good(pod: Body, init_container: Body, record: ContainerRecord) -> bool:
    end = _end(record)
    return end is not None and end.code != 0 and not restarts(pod, init_container, end.code, init=True)


def _terminated(state: Body | None) -> Terminated | None:
    """An end as a status has it."""
    if not state:
        return None
    return Terminated(
        int(state.get("exitCode", 0)),
        str(state.get("reason", "")),
        _time(state.get("startedAt")),
        _time(state.get("finishedAt")),
        str(state.get("message", "")),
        str(state.get("containerID", "")),
    )


def timestamp(time: datetime) -> str:
    """A time as the API has it: whole seconds, UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


# --- Events -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a container (`container` empty: to the pod), as `kubectl describe` tells it."""

    reason: str
    message: str
    container: str = ""
    warning: bool = False


def pulling(container: Body) -> Event:
    """The pull of an image begins."""
    return Event("Pulling", f'Pulling image "{container.get("image", "")}"', container["name"])


def pulled(container: Body, seconds: float) -> Event:
    """The pull is over; `seconds` are those of this machine's clock, as all times in events are."""
    image = container.get("image", "")
    took = f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return Event(
        "Pulled", f'Successfully pulled image "{image}" in {took} ({took} including waiting).', container["name"]
    )


def present(container: Body) -> Event:
    """The node has the image from an earlier pull."""
    image = container.get("image", "")
    message = f'Container image "{image}" already present on machine and can be accessed by the pod'
    return Event("Pulled", message, container["name"])


def created(container: Body) -> Event:
    """The container was made."""
    return Event("Created", "Container created", container["name"])


def not_made(container: Body, error: str) -> Event:
    """The container cannot be made."""
    return Event("Failed", f"Error: {error}", container["name"], warning=True)


def started(container: Body) -> Event:
    """The container runs."""
    return Event("Started", "Container started", container["name"])


def unhealthy(container: Body, message: str) -> Event:
    """A probe failed once."""
    return Event("Unhealthy", message, container["name"], warning=True)


def killing(container: Body, message: str = "") -> Event:
    """The container is about to be asked to end."""
    return Event("Killing", message or f"Stopping container {container['name']}", container["name"])


def failed_probe(container: Body, probe: str) -> str:
    """Why a container is killed that is to be started again."""
    return f"Container {container['name']} failed {probe} probe, will be restarted"


def backing_off(pod: Body, container: Body) -> Event:
    """The container ended again, and has to wait."""
    message = f"Back-off restarting failed container {container['name']} in pod {_named(pod)}"
    return Event("BackOff", message, container["name"], warning=True)


def crash_loop(pod: Body, container: Body, seconds: float) -> Waiting:
    """The state of a container that has to wait `seconds` in all before its next start."""
    minutes, rest = divmod(round(seconds), 60)
    text = f"{minutes}m{rest}s" if minutes else f"{rest}s"
    message = f"back-off {text} restarting failed container={container['name']} pod={_named(pod)}"
    return Waiting("CrashLoopBackOff", message)


def field_path(pod: Body, container: str) -> str:
    """Where a container is in its pod, as events refer to it."""
    inits: Iterable[Body] = dig(pod, "spec", "initContainers", default=())
    kind = "initContainers" if any(each["name"] == container for each in inits) else "containers"
    return f"spec.{kind}{{{container}}}" if container else ""


def _named(pod: Body) -> str:
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata['namespace']}({metadata.get('uid', '')})"
