"""LLM236."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._alerts import notices_missing_metrics
from chartproof.rules._autoscaling import is_engine_signal, serves_a_model, shows_demand, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM236", name="lost-targets-look-idle", severity=Severity.WARNING, kinds=("ScaledObject",))
def lost_targets_look_idle(document: Document, context: Context) -> Iterator[Finding]:
    """When the engine's metrics get lost, the autoscaler takes the silence for idleness.

    What:
        Engine metrics decide alone, an empty result counts as 0 (`ignoreNullValues` is true by default, or the
        query ends in `or vector(0)`), and nothing else shows the demand. With minimum 0 an error; else a
        warning, unless an alert of the release notices missing metrics.

    Why it hurts:
        A broken ServiceMonitor, a NetworkPolicy or a restarted Prometheus empties the result. KEDA then scales
        a fully loaded model to its minimum, or to zero within the cooldown.

    Bad:
        `sum(vllm:num_requests_running{...})` with `ignoreNullValues: "true"` and `minReplicaCount: 0`.

    Good:
        `ignoreNullValues: "false"`, a query that is 0 only where there is rightly no replica, as in
        `sum(vllm:num_requests_running{...}) or on() (kube_deployment_status_replicas_ready{...} == 0)`,
        `fallback: {behavior: currentReplicas}`, and an alert.

    References:
        https://github.com/kedacore/keda/issues/3065
        https://keda.sh/docs/latest/scalers/prometheus/
    """
    scaler = view(document, context)
    signals = [each for each in scaler.effective_triggers if each.is_prometheus and is_engine_signal(each)]
    lost = [each for each in signals if each.ignores_null_values or (each.query is not None and each.query.never_empty)]
    if not lost or not serves_a_model(scaler):
        return
    if any(shows_demand(each) for each in scaler.effective_triggers):
        return
    if len(lost) < len(signals) and scaler.modifiers is None:
        # Without a formula the largest answer wins, and an error holds.
        return
    if not scaler.scales_to_zero and notices_missing_metrics(context.release):
        return
    first = lost[0]
    what = "zero" if scaler.scales_to_zero else f"its minimum of {scaler.minimum}"
    reason = "ignoreNullValues is true" if first.ignores_null_values else "the query ends in vector(0)"
    finding = context.finding(
        document,
        f"{first.label}: lost metrics count as 0 ({reason}), and a loaded model is scaled to {what}",
        path=f"{first.path}.metadata",
        hint='write ignoreNullValues: "false" with a query that is 0 only at zero replicas, and '
        "fallback behavior currentReplicas",
    )
    yield replace(finding, severity=Severity.ERROR) if scaler.scales_to_zero else finding
