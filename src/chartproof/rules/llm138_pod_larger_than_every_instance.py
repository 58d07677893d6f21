"""LLM138."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from chartproof.catalog import Instance, catalog
from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import QuantityError, format_bytes, parse_quantity
from chartproof.plan.candidates import candidate_instances
from chartproof.release import Document, PodTemplate, dig
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers, gpu_count

_MEBIBYTE = 1024**2


@rule(id="LLM138", name="pod-larger-than-every-instance", severity=Severity.ERROR, kinds=SERVING)
def pod_larger_than_every_instance(document: Document, context: Context) -> Iterator[Finding]:
    """The pod asks for more than any instance type it may run on can give.

    What:
        GPUs, CPU or memory of the pod (the larger of its containers' sum and its largest init container)
        exceed what Karpenter plans with on every instance type that selectors, affinity and NodePools
        allow. What the kubelet and the system keep is taken off already.

    Why it hurts:
        The pod stays Pending for ever: "no instance type satisfied resources". A g6.xlarge has 16 GiB, of
        which 13.8 can be had.

    Bad:
        `requests: {memory: 16Gi}` on g6.xlarge

    Good:
        `requests: {memory: 12Gi}`, or g6.2xlarge.

    References:
        https://karpenter.sh/docs/reference/instance-types/
    """
    for engine in engine_containers(document):
        pod = engine.pod
        gpus = sum(gpu_count(each) for each in pod.containers())
        allowed = candidate_instances(pod, context.release, catalog(), gpus=1)
        if not allowed or not gpus:
            continue
        cpu, memory = _request(pod, "cpu"), _request(pod, "memory")
        if any(_holds(each, gpus, cpu, memory) for each in allowed):
            continue
        most = max(allowed, key=lambda each: (each.gpu_count, each.memory_mebibytes))
        yield context.finding(
            document,
            f"asks for {gpus} GPUs, {cpu:g} CPU and {format_bytes(float(memory))} memory; the largest type it may "
            f"run on, {most.name}, gives {most.gpu_count} GPUs, {most.allocatable_millicpu / 1000:g} CPU and "
            f"{most.allocatable_memory_mebibytes / 1024:.1f}Gi",
            path=f"{engine.path}.resources",
            hint="ask for less, or allow larger instance types",
        )


def _holds(instance: Instance, gpus: int, cpu: Decimal, memory: Decimal) -> bool:
    return (
        instance.gpu_count >= gpus
        and instance.allocatable_millicpu >= cpu * 1000
        and instance.allocatable_memory_mebibytes >= memory / _MEBIBYTE
    )


def _request(pod: PodTemplate, resource: str) -> Decimal:
    running = [
        *pod.containers(),
        *(each for each in pod.containers(init=True) if each.get("restartPolicy") == "Always"),
    ]
    total = sum((_of(each, resource) for each in running), Decimal(0))
    return max([total, *(_of(each, resource) for each in pod.containers(init=True))])


def _of(container: Mapping[str, Any], resource: str) -> Decimal:
    for side in ("requests", "limits"):
        value = dig(container, "resources", side, resource)
        if value is not None:
            try:
                return parse_quantity(value)
            except QuantityError:
                return Decimal(0)
    return Decimal(0)
