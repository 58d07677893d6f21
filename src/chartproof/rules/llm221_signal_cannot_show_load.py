"""LLM221."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import serves_a_model, view
from chartproof.rules.registry import Context, rule

_BLIND = re.compile(
    r"DCGM_FI_DEV_(GPU_UTIL|MEM_COPY_UTIL|FB_\w+|POWER_USAGE|GPU_TEMP)|DCGM_FI_PROF_(GR_ENGINE_ACTIVE|DRAM_ACTIVE)|"
    r"container_(cpu|memory)_\w+|node_(cpu|memory)_\w+|process_(cpu|resident|virtual)_\w+|"
    r"(nvidia_)?gpu_(utili[sz]ation|memory|duty_cycle)\w*|duty_cycle|memory_used|nvidia_smi_\w+|dcgm_gpu_\w+",
    re.IGNORECASE,
)


def is_blind(metric: str) -> bool:
    """Whether a metric says nothing of how many requests an engine holds."""
    return _BLIND.fullmatch(metric.rpartition(":")[2]) is not None


@rule(
    id="LLM221",
    name="signal-cannot-show-load",
    severity=Severity.ERROR,
    kinds=("ScaledObject", "HorizontalPodAutoscaler"),
)
def signal_cannot_show_load(document: Document, context: Context) -> Iterator[Finding]:
    """A model server is scaled on a signal that does not follow its load: GPU utilisation, GPU memory, CPU or memory.

    What:
        A trigger or metric of the autoscaler of an engine is cpu, memory, GPU utilisation
        (`DCGM_FI_DEV_GPU_UTIL`) or GPU memory (`DCGM_FI_DEV_FB_USED`).

    Why it hurts:
        An engine reserves its share of GPU memory at start, and the GPU counts as utilised as soon as any
        kernel runs: both are near 100 % with one request as with a hundred. CPU and memory of the pod hardly
        move at all. The workload runs at its maximum for ever, or never scales.

    Bad:
        `type: cpu` on a vLLM Deployment; `avg(DCGM_FI_DEV_GPU_UTIL) > 80`.

    Good:
        Running and waiting requests: `sum(vllm:num_requests_running{...})`,
        `sum(vllm:num_requests_waiting{...})`.

    References:
        https://cloud.google.com/kubernetes-engine/docs/best-practices/machine-learning/inference/autoscaling
        https://github.com/vllm-project/vllm/tree/main/examples/deployment/chart-helm
    """
    scaler = view(document, context)
    if not serves_a_model(scaler):
        return
    for trigger in scaler.effective_triggers:
        name = (
            trigger.type
            if trigger.is_resource
            else next(filter(is_blind, trigger.query.metrics if trigger.query else ()), "")
        )
        if name:
            yield context.finding(
                document,
                f"{trigger.label} scales a model server on {name}, which does not follow its load",
                path=trigger.path,
                hint="scale on running and waiting requests",
            )
    for metric in scaler.metrics:
        if metric.source in {"Resource", "ContainerResource"} or is_blind(metric.name):
            yield context.finding(
                document,
                f"scales a model server on {metric.name}, which does not follow its load",
                path=metric.path,
                hint="scale on running and waiting requests",
            )
