"""LLM244."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM244", name="paused-autoscaler", severity=Severity.WARNING, kinds=("ScaledObject",))
def paused_autoscaler(document: Document, context: Context) -> Iterator[Finding]:
    """The autoscaler is paused by an annotation.

    What:
        A ScaledObject carries `autoscaling.keda.sh/paused`, `paused-replicas`, `paused-scale-in` or
        `paused-scale-out`. Any value but "false" pauses.

    Why it hurts:
        KEDA stops polling and deletes the HorizontalPodAutoscaler (or blocks one direction). The replica count
        stays as it is until somebody remembers.

    Bad:
        `autoscaling.keda.sh/paused: "true"` committed after maintenance.

    Good:
        No such annotation; pause by hand, and only for as long as needed.

    References:
        https://keda.sh/docs/latest/concepts/scaling-deployments/#pausing-autoscaling
    """
    for name in ("paused", "paused-replicas", "paused-scale-in", "paused-scale-out"):
        key = f"autoscaling.keda.sh/{name}"
        value = document.annotations.get(key)
        if value is not None and str(value).lower() != "false":
            yield context.finding(
                document,
                f"is paused by {key}: {value}",
                path=f"metadata.annotations.{key}",
                hint="remove the annotation",
            )
