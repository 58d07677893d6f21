"""What rules ask about one pod template: its volumes, its user, how it stops."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.languages.quantity import bytes_of
from chartproof.release import Body, Document, PodTemplate, dig
from chartproof.workload import EngineContainer

#: Kubernetes' default of `terminationGracePeriodSeconds`.
DEFAULT_GRACE_SECONDS = 30
#: Labels that controllers put on pods; a template never shows them.
_RUNTIME_LABELS = re.compile(
    r"^(statefulset\.kubernetes\.io/pod-name|apps\.kubernetes\.io/pod-index|pod-template-hash|"
    r"controller-revision-hash|(batch\.kubernetes\.io/)?(job-name|controller-uid)|"
    r"leaderworkerset\.sigs\.k8s\.io/.*)$"
)
_LEADER_WORKER_NAME = "leaderworkerset.sigs.k8s.io/name"
_LEADER_WORKER_INDEX = "leaderworkerset.sigs.k8s.io/worker-index"
_SLEEP = re.compile(r"\bsleep\s+(\d+(?:\.\d+)?)(m|s)?\b|time\.sleep\((\d+(?:\.\d+)?)\)")


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume where a container sees it; `volume` is empty where the pod has no volume of that name."""

    path: str
    name: str
    volume: Mapping[str, Any]
    read_only: bool

    @property
    def in_memory(self) -> bool:
        """Whether it is an emptyDir of medium Memory."""
        return bool(dig(self.volume, "emptyDir", "medium") == "Memory")

    @property
    def size_limit(self) -> int | None:
        """`sizeLimit` of an emptyDir in bytes, None where absent."""
        return bytes_of(dig(self.volume, "emptyDir", "sizeLimit"))

    @property
    def writable(self) -> bool:
        """Whether the container can write there."""
        never = {"configMap", "secret", "downwardAPI", "projected", "image"}
        return not self.read_only and not never & set(self.volume)

    def covers(self, path: str) -> bool:
        """Whether `path` lies on it."""
        root = self.path.rstrip("/")
        return path == root or path.startswith(root + "/") or root == ""


def volumes(pod: PodTemplate) -> dict[str, Mapping[str, Any]]:
    """The pod's volumes by name."""
    found = pod.spec.get("volumes") or []
    return {str(each.get("name")): each for each in found if isinstance(each, Mapping)}


def mounts(pod: PodTemplate, container: Body) -> list[Mount]:
    """The volumes that a container mounts."""
    known = volumes(pod)
    return [
        Mount(
            str(each.get("mountPath") or ""),
            str(each.get("name") or ""),
            known.get(str(each.get("name")), {}),
            bool(each.get("readOnly")),
        )
        for each in container.get("volumeMounts") or []
        if isinstance(each, Mapping)
    ]


def mount_of(found: list[Mount], path: str) -> Mount | None:
    """The mount that `path` lies on: the one with the longest path."""
    return max((each for each in found if each.covers(path)), key=lambda each: len(each.path), default=None)


def security(pod: PodTemplate, container: Body, field: str) -> Any:
    """A field of the container's security context, or of the pod's where the container has none."""
    own = dig(container, "securityContext", field)
    return own if own is not None else dig(pod.spec, "securityContext", field)


def labels_of(document: Document, pod: PodTemplate) -> dict[str, str]:
    """Labels that the pods will have, with those that a LeaderWorkerSet adds."""
    found = {str(key): str(value) for key, value in pod.labels.items()}
    if document.kind == "LeaderWorkerSet":
        found[_LEADER_WORKER_NAME] = document.name
        if "leaderTemplate" in pod.path or len(document.pod_templates) == 1:
            found[_LEADER_WORKER_INDEX] = "0"
    return found


def known_labels(selector: Mapping[str, Any]) -> dict[str, Any]:
    """A plain label selector without the labels that only controllers know."""
    kept = {_LEADER_WORKER_NAME, _LEADER_WORKER_INDEX}
    return {key: value for key, value in selector.items() if key in kept or not _RUNTIME_LABELS.match(str(key))}


def grace_seconds(pod: PodTemplate) -> int:
    """`terminationGracePeriodSeconds`, 30 where absent."""
    value = pod.spec.get("terminationGracePeriodSeconds")
    return value if isinstance(value, int) else DEFAULT_GRACE_SECONDS


def pre_stop(container: Body) -> Mapping[str, Any]:
    """The preStop hook, empty where there is none."""
    hook = dig(container, "lifecycle", "preStop", default={})
    return hook if isinstance(hook, Mapping) else {}


def hook_text(hook: Mapping[str, Any]) -> str:
    """The command of an exec hook or probe as one line."""
    return " ".join(str(word) for word in dig(hook, "exec", "command", default=[]) or [])


def pre_stop_seconds(container: Body) -> float:
    """Seconds that the preStop hook pauses, as far as it says: its sleeps added up."""
    hook = pre_stop(container)
    seconds = dig(hook, "sleep", "seconds")
    if isinstance(seconds, int | float):
        return float(seconds)
    total = 0.0
    for match in _SLEEP.finditer(hook_text(hook)):
        total += float(match[1] or match[3]) * (60 if match[2] == "m" else 1)
    return total


def waits_for_requests(container: Body) -> bool:
    """Whether the preStop hook itself waits until no request is running."""
    return bool(re.search(r"num_requests_running|num_running_reqs|/load\b", hook_text(pre_stop(container))))


def all_containers(pod: PodTemplate) -> Iterator[tuple[Body, str]]:
    """Init and ordinary containers with their paths."""
    for init in (True, False):
        for container in pod.containers(init=init):
            yield container, pod.container_path(container, init=init)


def container_ports(pod: PodTemplate) -> list[tuple[Body, Mapping[str, Any]]]:
    """Every declared port with its container; sidecars (restartable init containers) included."""
    return [
        (container, port)
        for container, _ in all_containers(pod)
        for port in container.get("ports") or []
        if isinstance(port, Mapping)
    ]


def parallel_gpus(engine: EngineContainer) -> int | None:
    """GPUs that the engine's parallel sizes ask for over all its pods; None where they cannot be read.

    vLLM: tensor x pipeline x data parallel size. SGLang: tensor x pipeline, times data parallel unless
    its replicas share the attention (`--enable-dp-attention`). Sources: vLLM `config/parallel.py`,
    SGLang `srt/server_args.py`.
    """
    names = (
        ("--tensor-parallel-size", "-tp", "--tp-size", "--tp"),
        ("--pipeline-parallel-size", "-pp", "--pp-size", "--pp"),
        ("--data-parallel-size", "-dp", "--dp-size", "--dp"),
    )
    sizes = []
    for spelled in names:
        text = engine.option(*spelled)
        if text is not None and not text.isdigit():
            return None
        sizes.append(int(text) if text else 1)
    tensor, pipeline, data = sizes
    if engine.engine == "sglang" and engine.option("--enable-dp-attention") is not None:
        data = 1
    return tensor * pipeline * data
