"""LLM224."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


@rule(id="LLM224", name="fallback-to-zero", severity=Severity.ERROR, kinds=("ScaledObject",))
def fallback_to_zero(document: Document, context: Context) -> Iterator[Finding]:
    """When metrics fail, the fallback scales to zero.

    What:
        `fallback.replicas` is 0 and the minimum is 0.

    Why it hurts:
        A broken Prometheus then looks like "nobody is here": after the cooldown KEDA removes all replicas,
        under full load.

    Bad:
        `fallback: {failureThreshold: 3, replicas: 0}` with `minReplicaCount: 0`.

    Good:
        `fallback: {failureThreshold: 3, replicas: 1, behavior: currentReplicas}`

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#fallback
        https://github.com/kedacore/keda/blob/main/pkg/scaling/executor/scale_scaledobjects.go
    """
    scaler = view(document, context)
    if scaler.fallback is not None and scaler.fallback.replicas == 0 and scaler.scales_to_zero:
        yield context.finding(
            document,
            "fallback.replicas is 0 with a minimum of 0: failing metrics remove every replica",
            path=f"{scaler.fallback.path}.replicas",
            hint="write replicas: 1 with behavior: currentReplicas",
        )
