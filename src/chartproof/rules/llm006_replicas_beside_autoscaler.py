"""LLM006."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import autoscalers_of
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM006",
    name="replicas-beside-autoscaler",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "LeaderWorkerSet"),
)
def replicas_beside_autoscaler(document: Document, context: Context) -> Iterator[Finding]:
    """A workload fixes its replicas although an autoscaler sets them.

    What:
        `spec.replicas` is written in a workload that a ScaledObject or HorizontalPodAutoscaler scales.

    Why it hurts:
        Every upgrade puts the count back: at peak the extra replicas are stopped at once, at night GPUs
        are started for nobody.

    Bad:
        `replicas: 1` in the Deployment that a ScaledObject scales from 1 to 10.

    Good:
        No `replicas` in the manifest; the autoscaler's minimum is the start.

    References:
        https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#migrating-deployments-and-statefulsets-to-horizontal-autoscaling
    """
    replicas = document.get("spec", "replicas")
    if replicas is None:
        return
    for scaler in autoscalers_of(context.release, document):
        yield context.finding(
            document,
            f"replicas: {replicas} is written beside {scaler.identity}, so every upgrade resets the count",
            path="spec.replicas",
            hint="leave spec.replicas out",
        )
        return
