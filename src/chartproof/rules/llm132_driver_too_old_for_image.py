"""LLM132."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release, dig
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import at_least
from chartproof.rules.registry import Context, rule
from chartproof.versions import parse_version
from chartproof.workload import EngineContainer, engine_containers

#: From this vLLM release on the plain image is built for CUDA 13, which needs this driver branch.
_CUDA_13_SINCE = (0, 20, 0)
_CUDA_13_DRIVER = 580
#: First Bottlerocket release whose NVIDIA variants all have that branch.
_BOTTLEROCKET_580 = (1, 53, 0)
_CUDA_12_TAG = re.compile(r"cu12\d")


@rule(id="LLM132", name="driver-too-old-for-image", severity=Severity.ERROR, kinds=SERVING)
def driver_too_old_for_image(document: Document, context: Context) -> Iterator[Finding]:
    """The pinned nodes have an older GPU driver than the engine's image needs.

    What:
        A vLLM image from 0.20 on without a CUDA 12 suffix, and nodes whose driver is pinned below
        branch 580: Bottlerocket before 1.53, a GPU Operator that installs an older driver, or a node
        selector for an older `nvidia.com/cuda.driver.major`.

    Why it hurts:
        "The NVIDIA driver on your system is too old": the engine stops before it loads anything.

    Bad:
        `vllm/vllm-openai:v0.33.0` on `bottlerocket@v1.40.0`

    Good:
        `bottlerocket@v1.62.1`, or an image tag with `-cu129`, or `VLLM_ENABLE_CUDA_COMPATIBILITY=1`.

    References:
        https://docs.nvidia.com/deploy/cuda-compatibility/
        https://github.com/vllm-project/vllm/blob/main/docker/Dockerfile
    """
    for engine in engine_containers(document):
        if engine.engine != "vllm" or not engine.official_image or not at_least(engine, _CUDA_13_SINCE):
            continue
        compatible = str(engine.environment.get("VLLM_ENABLE_CUDA_COMPATIBILITY", "")) == "1"
        if compatible or _CUDA_12_TAG.search(engine.image.tag):
            continue
        for where in _old_drivers(engine, context.release):
            yield context.finding(
                document,
                f"{engine}: image {engine.image.tag} is built for CUDA 13 (driver {_CUDA_13_DRIVER} or newer), {where}",
                path=f"{engine.path}.image",
                hint="use newer nodes, an image for CUDA 12, or VLLM_ENABLE_CUDA_COMPATIBILITY=1",
            )


def _old_drivers(engine: EngineContainer, release: Release) -> Iterator[str]:
    for node_class in release.of_kind("EC2NodeClass"):
        for term in node_class.get("spec", "amiSelectorTerms", default=[]) or []:
            family, _, text = str(dig(term, "alias", default="")).partition("@")
            version = parse_version(text)
            if family == "bottlerocket" and version is not None and version < _BOTTLEROCKET_580:
                yield f"and Bottlerocket {text} of {node_class.identity} has an older one"
    for policy in release.of_kind("ClusterPolicy"):
        version = parse_version(str(policy.get("spec", "driver", "version", default="")))
        if policy.get("spec", "driver", "enabled", default=True) and version and version[0] < _CUDA_13_DRIVER:
            yield f"and {policy.identity} installs {policy.get('spec', 'driver', 'version')}"
    selected = str((engine.pod.spec.get("nodeSelector") or {}).get("nvidia.com/cuda.driver.major", ""))
    if selected.isdigit() and int(selected) < _CUDA_13_DRIVER:
        yield f"and its node selector asks for driver {selected}"
