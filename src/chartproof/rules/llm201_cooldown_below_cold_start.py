"""LLM201."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import cold_start, shows_demand, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM201", name="cooldown-below-cold-start", severity=Severity.ERROR, kinds=("ScaledObject",))
def cooldown_below_cold_start(document: Document, context: Context) -> Iterator[Finding]:
    """Scale to zero with a cooldown that ends before a started replica can be ready.

    What:
        `cooldownPeriod` is shorter than the cold start (node, image, weights, engine start) while the minimum
        is 0. Where only a cron starts replicas, a warning: the cron itself keeps them up.

    Why it hurts:
        KEDA counts the cooldown from the last moment a trigger was active. A replica that loads shows no load,
        so the cooldown runs out and KEDA scales back to zero: the pod is killed while loading, and the next
        request starts the same again.

    Bad:
        `cooldownPeriod: 60` with `minReplicaCount: 0` for a model that needs 200 s to be ready.

    Good:
        `cooldownPeriod: 600`, twice the planned cold start.

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#cooldownperiod
        https://github.com/kedacore/keda/issues/5008
    """
    scaler = view(document, context)
    start = cold_start(scaler, context.release) if scaler.scales_to_zero else None
    if start is None or scaler.cooldown_seconds >= start.seconds:
        return
    finding = context.finding(
        document,
        f"cooldownPeriod of {scaler.cooldown_seconds:g} s ends before {start} does: "
        "the replica is removed while it loads",
        path="spec.cooldownPeriod",
        hint=f"write cooldownPeriod: {max(300, 10 * math.ceil(start.seconds / 5))}, twice the cold start",
    )
    only_cron = any(each.is_cron for each in scaler.effective_triggers) and not any(
        shows_demand(each) for each in scaler.effective_triggers
    )
    yield replace(finding, severity=Severity.WARNING) if only_cron else finding
