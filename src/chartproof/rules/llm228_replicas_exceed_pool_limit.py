"""LLM228."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules._pools import gpu_limits
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM228",
    name="replicas-exceed-pool-limit",
    severity=Severity.ERROR,
    kinds=("ScaledObject", "HorizontalPodAutoscaler"),
)
def replicas_exceed_pool_limit(document: Document, context: Context) -> Iterator[Finding]:
    """The most replicas need more GPUs than the node pools may have.

    What:
        `maxReplicaCount` times the GPUs of a replica is above the sum of `limits."nvidia.com/gpu"` of the
        NodePools that the pods can land on.

    Why it hurts:
        The last replicas stay Pending for ever: the autoscaler believes it has scaled, and requests wait for
        replicas that cannot come.

    Bad:
        `maxReplicaCount: 10` with 1 GPU each and a pool with `limits: {nvidia.com/gpu: 4}`.

    Good:
        A limit of most replicas plus surge, times the GPUs of a replica.

    References:
        https://karpenter.sh/docs/concepts/nodepools/#speclimits
    """
    scaler = view(document, context)
    if scaler.maximum is None or not scaler.engines:
        return
    engine = scaler.engines[0]
    gpus = engine.gpus * max(1, engine.group_size)
    limits = gpu_limits(engine.pod, context.release)
    if not gpus or not limits or None in limits:
        return
    allowed = sum(each for each in limits if each is not None)
    if scaler.maximum * gpus > allowed:
        yield context.finding(
            document,
            f"{scaler.maximum} replicas of {gpus} GPUs need {scaler.maximum * gpus}, the pools may have {allowed:g}",
            path="spec.maxReplicaCount" if scaler.is_keda else "spec.maxReplicas",
            hint=f"lower it to {int(allowed // gpus)}, or raise limits.nvidia.com/gpu of the pool to "
            f"{(scaler.maximum + 1) * gpus} (one more for rolling updates)",
        )
