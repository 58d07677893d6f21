"""LLM222."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import serves_a_model, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM222", name="missing-fallback", severity=Severity.WARNING, kinds=("ScaledObject",))
def missing_fallback(document: Document, context: Context) -> Iterator[Finding]:
    """No fallback for when metrics cannot be read.

    What:
        A ScaledObject with Prometheus or other external triggers has no `fallback`.

    Why it hurts:
        While Prometheus is down, the replica count stays as it is, zero included: nothing starts, and whatever
        load comes meets the replicas that happen to run.

    Bad:
        No `fallback` in `spec`.

    Good:
        `fallback: {failureThreshold: 3, replicas: 2, behavior: currentReplicasIfHigher}`

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#fallback
    """
    scaler = view(document, context)
    measured = [each for each in scaler.triggers if not each.is_resource and not each.is_cron]
    if scaler.fallback is None and measured and serves_a_model(scaler):
        replicas = max(1, scaler.minimum or 1)
        yield context.finding(
            document,
            "has no fallback: while its metrics cannot be read, nothing scales, and zero stays zero",
            path="spec.fallback",
            hint=f"write fallback: {{failureThreshold: 3, replicas: {replicas}, behavior: currentReplicas}}",
        )
