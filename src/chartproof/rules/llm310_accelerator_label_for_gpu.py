"""LLM310."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.catalog import catalog
from chartproof.findings import Finding, Severity
from chartproof.pool import pool_of
from chartproof.release import Document, dig
from chartproof.requirements import Requirement, combine, from_expressions
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, label_path, pod_requirements

_KEYS = tuple(
    prefix + name
    for prefix in ("karpenter.k8s.aws/", "eks.amazonaws.com/")
    for name in ("instance-accelerator-manufacturer", "instance-accelerator-name", "instance-accelerator-count")
)


@rule(
    id="LLM310",
    name="accelerator-label-for-gpu",
    severity=Severity.ERROR,
    kinds=("NodePool", "Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def accelerator_label_for_gpu(document: Document, context: Context) -> Iterator[Finding]:
    """GPUs are selected by the label that only Neuron and Gaudi devices have.

    What:
        A requirement on `instance-accelerator-manufacturer`, `-name` or `-count` names NVIDIA or one of its
        GPUs, or stands in a pool (or on a pod) that is otherwise for GPUs.

    Why it hurts:
        EC2 calls Inferentia, Trainium and Gaudi accelerators. No GPU type has the label, so nothing is
        launched.

    Bad:
        `{key: karpenter.k8s.aws/instance-accelerator-manufacturer, operator: In, values: [nvidia]}`

    Good:
        `{key: karpenter.k8s.aws/instance-gpu-manufacturer, operator: In, values: [nvidia]}`

    References:
        https://karpenter.sh/docs/reference/instance-types/
        https://github.com/aws/karpenter-provider-aws/blob/main/pkg/apis/v1/labels.go
    """
    if document.kind == "NodePool":
        pool = pool_of(document, context.release)
        written = combine(from_expressions(dig(pool.template, "requirements", default=[])))
        for key in _KEYS:
            if key in written and (_names_gpu(written[key]) or (pool.gpu_only and not written[key].absent)):
                yield context.finding(document, _message(key), path=pool.requirement_path(key), hint=_hint(key))
        return
    for subject in gpu_pods_in(document):
        for alternative in pod_requirements(subject.pod):
            for key in _KEYS:
                if key in alternative and not alternative[key].absent:
                    yield context.finding(document, _message(key), path=label_path(subject.pod, key), hint=_hint(key))


def _names_gpu(requirement: Requirement) -> bool:
    return any(value.lower() == "nvidia" or value in catalog().gpus for value in requirement.named or ())


def _message(key: str) -> str:
    return f"{key} exists only on Neuron and Gaudi instances: no GPU instance type matches"


def _hint(key: str) -> str:
    return f"write {key.replace('instance-accelerator', 'instance-gpu')}"
