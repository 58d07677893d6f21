"""LLM212."""

from __future__ import annotations

import math
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import cold_start, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM212", name="missing-initial-cooldown", severity=Severity.WARNING, kinds=("ScaledObject",))
def missing_initial_cooldown(document: Document, context: Context) -> Iterator[Finding]:
    """Scale to zero without an initial cooldown zeroes a fresh installation at the first poll.

    What:
        The minimum is 0 and `initialCooldownPeriod` is missing (it is 0 then) or shorter than the cold start.

    Why it hurts:
        After creation KEDA has seen no activity, so that the ordinary cooldown does not apply: the first
        replica is removed while it loads, and readiness checks of the installation wait in vain.

    Bad:
        `minReplicaCount: 0` without `initialCooldownPeriod`.

    Good:
        `initialCooldownPeriod: 600`

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#initialcooldownperiod
        https://github.com/kedacore/keda/issues/5008
    """
    scaler = view(document, context)
    start = cold_start(scaler, context.release) if scaler.scales_to_zero else None
    given = scaler.initial_cooldown_seconds
    if start is None or (given is not None and given >= start.seconds):
        return
    yield context.finding(
        document,
        f"initialCooldownPeriod is {'0 (not given)' if given is None else f'{given:g} s'}, less than {start}: "
        "a fresh installation is scaled to zero while it loads",
        path="spec.initialCooldownPeriod",
        hint=f"write initialCooldownPeriod: {max(300, 10 * math.ceil(start.seconds / 5))}",
    )
