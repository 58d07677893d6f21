"""Which instance types a pod may land on, as far as the release says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from chartproof.catalog import Catalog, Instance, slice_size
from chartproof.pool import AUTO_MODE_LABELS, AWS_LABELS, INSTANCE_TYPE, gpu_pools_of, is_type_label
from chartproof.release import Document, PodTemplate, Release
from chartproof.requirements import Requirement
from chartproof.scheduling import GpuPod, Obstacle, mismatches, pod_requirements

#: Of the GiB in a MIG profile's name, at least so much is there. Source: NVIDIA MIG user guide (1g.10gb: 9.5 to 9.75).
_SLICE_SHARE = 0.95

#: GPU Feature Discovery's product label, as nodes outside EKS carry it.
_PRODUCT_LABEL = "nvidia.com/gpu.product"


def candidate_instances(pod: PodTemplate, release: Release, catalog: Catalog, *, gpus: int) -> tuple[Instance, ...]:
    """Catalog instances with enough GPUs that pod and pools allow, cheapest first.

    The pod's node selector and required affinity count and, where the release has GPU pools, the pools
    that the pod's labels and tolerations let in (all of them where none does). Empty where nothing
    constrains the choice (every GPU type would be a guess) or where nothing matches.
    """
    alternatives = [_typed(each) for each in pod_requirements(pod)]
    pools = gpu_pools_of(release)
    if not pools and not any(alternatives):
        return ()
    subject = GpuPod(_owner(pod, release), pod)
    open_pools = [
        pool for pool in pools if all(each.obstacle is Obstacle.RESOURCE for each in mismatches(subject, pool))
    ]
    allowed = {each.name for pool in open_pools or pools for each in pool.instances}
    found = [
        instance
        for instance in catalog.gpu_instances()
        if instance.gpu_count >= gpus
        and (not pools or instance.name in allowed)
        and any(_holds(each, _labels(instance, catalog)) for each in alternatives)
    ]
    return tuple(sorted(found, key=lambda each: (each.usd_per_hour or float("inf"), each.name)))


def cut(instances: Iterable[Instance], profile: str, catalog: Catalog) -> tuple[Instance, ...]:
    """The instances with their GPUs cut into slices of a MIG profile, each of which counts as a GPU of its own.

    Those whose GPUs have no such slices are left out.
    """
    found = []
    for each in instances:
        slices = catalog.gpus[each.gpu].slices_of(profile, each.gpu_memory_mebibytes) if each.gpu in catalog.gpus else 0
        if slices:
            memory = int(_SLICE_SHARE * slice_size(profile)[1] * 1024)
            found.append(replace(each, gpu_count=each.gpu_count * slices, gpu_memory_mebibytes=memory))
    return tuple(found)


def _owner(pod: PodTemplate, release: Release) -> Document:
    """The document of a pod template; a bare Pod's body where it is in no document of the release."""
    found = next((each for each in release.workloads if any(pod is known for known in each.pod_templates)), None)
    return found if found is not None else Document({"kind": "Pod", **pod.body})


def _labels(instance: Instance, catalog: Catalog) -> Mapping[str, str]:
    product = catalog.gpus[instance.gpu].product.replace(" ", "-") if instance.gpu in catalog.gpus else ""
    return {**instance.labels, _PRODUCT_LABEL: product}


def _typed(wanted: Mapping[str, Requirement]) -> dict[str, Requirement]:
    """The requirements that speak of instance types; those of EKS Auto Mode under Karpenter's own names."""
    named = {
        AWS_LABELS + key.removeprefix(AUTO_MODE_LABELS) if key.startswith(AUTO_MODE_LABELS + "instance-") else key: each
        for key, each in wanted.items()
    }
    return {key: each for key, each in named.items() if key in {INSTANCE_TYPE, _PRODUCT_LABEL} or _of_instance(key)}


def _of_instance(key: str) -> bool:
    return key.startswith(AWS_LABELS) and is_type_label(key)


def _holds(wanted: Mapping[str, Requirement], labels: Mapping[str, str]) -> bool:
    return all(requirement.allows(labels.get(key)) for key, requirement in wanted.items())
