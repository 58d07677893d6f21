"""LLM133."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import at_least, candidate_gpus, capability_text, chosen_hardware
from chartproof.rules.registry import Context, rule
from chartproof.versions import format_version
from chartproof.workload import engine_containers

#: vLLM's image has no kernels for GPUs older than compute capability 7.5 from this release on.
_VOLTA_DROPPED = (0, 20, 0)
_OLDEST_CAPABILITY = (7, 5)
#: EC2 families and GPUs of capability 7.0 and below, which a catalog of today need not have.
_OLD_HARDWARE = re.compile(r"p2|p3(dn)?|g3s?|.*\b(v100|k80|m60|p100)\b.*", re.IGNORECASE)


@rule(id="LLM133", name="gpu-architecture-dropped", severity=Severity.ERROR, kinds=SERVING)
def gpu_architecture_dropped(document: Document, context: Context) -> Iterator[Finding]:
    """The pod may land on a GPU that the engine's version no longer supports.

    What:
        vLLM 0.20 or newer on instance types with GPUs below compute capability 7.5 (V100 and older), by
        node selector, affinity or the NodePools of the release.

    Why it hurts:
        "no kernel image is available for execution on the device": the pod crashes on exactly those
        nodes, which autoscaling brings up now and then.

    Bad:
        `node.kubernetes.io/instance-type: p3.2xlarge` with `vllm/vllm-openai:v0.33.0`

    Good:
        Instances of the families g4dn, g5, g6 and newer.

    References:
        https://developer.nvidia.com/cuda-gpus
        https://github.com/vllm-project/vllm/blob/main/docker/versions.json
    """
    for engine in engine_containers(document):
        if engine.engine != "vllm" or not at_least(engine, _VOLTA_DROPPED) or engine.version is None:
            continue
        known = [
            f"{each.product} (compute capability {capability_text(each)})"
            for each in candidate_gpus(engine, context.release)
            if each.compute_capability < _OLDEST_CAPABILITY
        ]
        named = [
            each
            for each in chosen_hardware(engine, context.release)
            if _OLD_HARDWARE.fullmatch(each.partition(".")[0].replace("-", " "))
        ]
        if known or named:
            yield context.finding(
                document,
                f"{engine} may land on {', '.join(sorted({*known, *named}))}, which vLLM "
                f"{format_version(engine.version)} has no kernels for",
                path=f"{engine.path}.image",
                hint="allow only GPUs of compute capability 7.5 (T4) and newer",
            )
