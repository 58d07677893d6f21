"""LLM362."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release, dig
from chartproof.rules._kinds import SERVING
from chartproof.rules._nodes import user_data_of
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import GpuPod
from chartproof.workload import EngineContainer, engine_containers

#: Share of memory that vLLM takes where it is not told. Source: vLLM, gpu_memory_utilization.
_DEFAULT_SHARE = 0.9


@rule(id="LLM362", name="gpu-shares-overcommitted", severity=Severity.ERROR, kinds=SERVING)
def gpu_shares_overcommitted(document: Document, context: Context) -> Iterator[Finding]:
    """Engines that share a GPU by time slicing take more than its memory together.

    What:
        The release lets several pods take turns on a GPU (Bottlerocket's `time-slicing`, or a device plugin's
        `sharing.timeSlicing`), and the engine's share of memory times their number is above 1.

    Why it hurts:
        Time slicing keeps compute apart and memory not: each engine takes its share of the whole GPU at start.
        The first one runs, the next fails with "Free memory on device is less than desired GPU memory
        utilization", and restarts for ever.

    Bad:
        `replicas = 2` with `--gpu-memory-utilization 0.9`

    Good:
        `replicas = 2` with `--gpu-memory-utilization 0.48`, or a MIG slice for each

    References:
        https://github.com/NVIDIA/k8s-device-plugin#with-cuda-time-slicing
    """
    for engine in engine_containers(document):
        replicas = _sharers(engine, context.release)
        share = _share(engine)
        if replicas > 1 and share * replicas > 1:
            yield context.finding(
                document,
                f"{engine} takes {share:g} of a GPU's memory, and {replicas} pods share each GPU",
                path=f"{engine.path}.args",
                hint=f"write --gpu-memory-utilization {int(100 / replicas) / 100:g} or less, or share among fewer",
            )


def _share(engine: EngineContainer) -> float:
    told = engine.option("--gpu-memory-utilization", "--mem-fraction-static")
    try:
        return float(told) if told else _DEFAULT_SHARE
    except ValueError:
        return _DEFAULT_SHARE


def _sharers(engine: EngineContainer, release: Release) -> int:
    """Most pods that may share a GPU of the engine's nodes: by a plugin of the release, or by its pools' node class."""
    found = [1]
    for each in release.of_kind("ConfigMap"):
        found += [_of_plugin(str(text)) for text in (each.get("data", default={}) or {}).values()]
    owner = next((each for each in release.workloads if any(known is engine.pod for known in each.pod_templates)), None)
    for pool in GpuPod(owner, engine.pod).placed_on(release) if owner is not None else ():
        data = user_data_of(pool.node_class.document) if pool.node_class is not None else None
        nvidia = ("kubelet-device-plugins", "nvidia")
        if data is not None and data.get(*nvidia, "device-sharing-strategy") == "time-slicing":
            replicas = data.get(*nvidia, "time-slicing", "replicas")
            found.append(replicas if isinstance(replicas, int) else 2)  # Bottlerocket's default
    return max(found)


def _of_plugin(text: str) -> int:
    if "timeSlicing" not in text:
        return 1
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError:
        return 1
    resources = dig(loaded, "sharing", "timeSlicing", "resources", default=[]) or []
    return max([1, *(int(each["replicas"]) for each in resources if isinstance(dig(each, "replicas"), int))])
