"""LLM229."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from chartproof.autoscaler import DEFAULT_SCALE_DOWN_WINDOW_SECONDS
from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import cold_start, view
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM229",
    name="scale-down-window-below-cold-start",
    severity=Severity.WARNING,
    kinds=("ScaledObject", "HorizontalPodAutoscaler"),
)
def scale_down_window_below_cold_start(document: Document, context: Context) -> Iterator[Finding]:
    """Replicas are removed after a lull that is shorter than their cold start.

    What:
        `behavior.scaleDown.stabilizationWindowSeconds` (300 where it is not given) is below the planned cold
        start. At 300 s and above it is a note.

    Why it hurts:
        A pause between two bursts removes replicas that the next burst needs again, each at the price of a cold
        start: the workload flaps.

    Bad:
        `stabilizationWindowSeconds: 60` for a model that needs 200 s to be ready.

    Good:
        `stabilizationWindowSeconds: 300`

    References:
        https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#stabilization-window
    """
    scaler = view(document, context)
    start = cold_start(scaler, context.release)
    if start is None or scaler.scale_down.select_policy == "Disabled" or scaler.maximum == (scaler.minimum or 1):
        return
    window = scaler.scale_down_window_seconds
    if window < start.seconds:
        prefix = "spec.advanced.horizontalPodAutoscalerConfig." if scaler.is_keda else "spec."
        given = "is not given, hence 300 s," if scaler.scale_down.window_seconds is None else f"of {window:g} s"
        found = context.finding(
            document,
            f"the scale-down window {given} is below {start}",
            path=f"{prefix}behavior.scaleDown.stabilizationWindowSeconds",
            hint=f"write stabilizationWindowSeconds: {max(300, 10 * math.ceil(start.seconds / 10))}",
        )
        # With the HPA's own 300 s or more the cold start's estimate is too coarse to call the window wrong.
        yield replace(found, severity=Severity.NOTE) if window >= DEFAULT_SCALE_DOWN_WINDOW_SECONDS else found
