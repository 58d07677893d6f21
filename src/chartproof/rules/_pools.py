"""GPU limits of the node pools that a pod can land on."""

from __future__ import annotations

from chartproof.languages.quantity import QuantityError, parse_quantity
from chartproof.release import PodTemplate, Release
from chartproof.scheduling import GpuPod
from chartproof.workload import GPU_RESOURCE


def gpu_limits(pod: PodTemplate, release: Release) -> list[float | None]:
    """`limits."nvidia.com/gpu"` of every pool the pod fits; None for a pool without one.

    A static pool has what its nodes have, if they are all of its largest type.
    """
    owner = next((each for each in release.workloads if any(known is pod for known in each.pod_templates)), None)
    if owner is None:
        return []
    found: list[float | None] = []
    for pool in GpuPod(owner, pod).placed_on(release):
        nodes = pool.document.get("spec", "replicas")
        if isinstance(nodes, int) and pool.gpu_instances:
            found.append(float(nodes * max(each.gpu_count for each in pool.gpu_instances)))
            continue
        try:
            found.append(float(parse_quantity(pool.document.get("spec", "limits", GPU_RESOURCE))))
        except QuantityError:
            found.append(None)
    return found
