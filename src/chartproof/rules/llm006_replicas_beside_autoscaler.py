"""LLM006."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import autoscalers_of, replica_range
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
        `spec.replicas` is written in a workload that a ScaledObject or HorizontalPodAutoscaler scales. A
        note where it is 0 and the minimum is 0 as well: without it an installation starts a pod for
        nobody, with it a plain `kubectl apply` stops the running ones.

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
    scalers = autoscalers_of(context.release, document)
    if not scalers:
        return
    if replicas == 0 and replica_range(context.release, document).fewest == 0:
        note = context.finding(
            document,
            f"replicas: 0 is written beside {scalers[0].identity}: right for an installation, and a plain "
            "`kubectl apply` of it later stops the running replicas",
            path="spec.replicas",
            hint="install with a tool that keeps the live count on upgrades, as the llm-inference chart does",
        )
        yield replace(note, severity=Severity.NOTE)
        return
    yield context.finding(
        document,
        f"replicas: {replicas} is written beside {scalers[0].identity}, so every upgrade resets the count",
        path="spec.replicas",
        hint="leave spec.replicas out",
    )
