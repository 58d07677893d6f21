"""LLM230."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule

_SHORT_SECONDS = 10


@rule(id="LLM230", name="polling-interval-for-one-to-many", severity=Severity.NOTE, kinds=("ScaledObject",))
def polling_interval_for_one_to_many(document: Document, context: Context) -> Iterator[Finding]:
    """A short polling interval does not make scaling from one replica to many any faster.

    What:
        `pollingInterval` is below 10 s although at least one replica always runs, and no trigger uses cached
        metrics.

    Why it hurts:
        KEDA polls to go between 0 and 1 and to count the cooldown. From 1 to N the HorizontalPodAutoscaler asks
        for live values every 15 s, whatever the interval; the polls only burden Prometheus.

    Bad:
        `pollingInterval: 2` with `minReplicaCount: 1`

    Good:
        `pollingInterval: 30` with `minReplicaCount: 1`

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#pollinginterval
    """
    scaler = view(document, context)
    cached = any(each.use_cached_metrics for each in scaler.triggers)
    if scaler.polling_seconds < _SHORT_SECONDS and not scaler.scales_to_zero and not cached:
        yield context.finding(
            document,
            f"pollingInterval of {scaler.polling_seconds:g} s has no effect between 1 and N replicas",
            path="spec.pollingInterval",
            hint="write pollingInterval: 30",
        )
