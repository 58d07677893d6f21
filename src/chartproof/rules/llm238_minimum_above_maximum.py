"""LLM238."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM238",
    name="minimum-above-maximum",
    severity=Severity.ERROR,
    kinds=("ScaledObject", "HorizontalPodAutoscaler"),
)
def minimum_above_maximum(document: Document, context: Context) -> Iterator[Finding]:
    """The replica bounds of the autoscaler contradict each other.

    What:
        The minimum is above the maximum (a minimum of 0 counts as 1), the maximum is 0, or `idleReplicaCount`
        is not below the minimum.

    Why it hurts:
        The API server or KEDA refuses the object, or no HorizontalPodAutoscaler is made: nothing scales.

    Bad:
        `minReplicaCount: 5` with `maxReplicaCount: 4`.

    Good:
        `minReplicaCount: 1` with `maxReplicaCount: 4`.

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/
        https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
    """
    scaler = view(document, context)
    low, high = ("minReplicaCount", "maxReplicaCount") if scaler.is_keda else ("minReplicas", "maxReplicas")
    if scaler.minimum is not None and scaler.maximum is not None and max(1, scaler.minimum) > scaler.maximum:
        yield context.finding(
            document,
            f"{low} {scaler.minimum} is above {high} {scaler.maximum}",
            path=f"spec.{low}",
            hint=f"write {high}: {max(1, scaler.minimum)} or more",
        )
    if scaler.idle is not None and scaler.minimum is not None and scaler.idle >= scaler.minimum:
        yield context.finding(
            document,
            f"idleReplicaCount {scaler.idle} is not below {low} {scaler.minimum}",
            path="spec.idleReplicaCount",
            hint=f"write idleReplicaCount: 0 with {low}: {max(1, scaler.minimum)}, or remove it",
        )
