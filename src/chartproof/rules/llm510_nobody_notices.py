"""LLM510."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.languages.promql import Query
from chartproof.release import Document
from chartproof.rules._alerts import alerts_of, asks_for_missing_metrics
from chartproof.rules._autoscaling import engine_selectors, load_of_query, serves_a_model, view
from chartproof.rules.registry import Context, rule

_HINTS = {
    "the autoscaler loses its metrics": "alert on absent(<the engine's metric>) or keda_scaled_object_errors_total",
    "an engine holds requests but computes nothing": "alert on running > 0 and rate(<tokens or iterations>) == 0",
    "a pod waits for a GPU": "alert on kube_pod_status_unschedulable > 0",
}
_WAITING_PODS = (
    "kube_pod_status_unschedulable",
    "kube_pod_status_phase",
    "kube_pod_status_scheduled",
    "kube_pod_status_ready",
    "kube_pod_container_status_waiting",
    "kube_deployment_status_replicas_unavailable",
    "karpenter_scheduler",
    "karpenter_pods",
)


def notices_blindness(query: Query) -> bool:
    """Whether a query fires when the autoscaler cannot read its metrics."""
    conditions = any(each.startswith("kube_horizontalpodautoscaler_status_condition") for each in query.metrics)
    return conditions or asks_for_missing_metrics(query)


def notices_hang(query: Query) -> bool:
    """Whether a query compares running requests with the engine's progress."""
    progress = any(each.is_rated and not each.metric.startswith("kube_") for each in query.selectors)
    return (
        "running" in load_of_query(query)
        and progress
        and any("==" in each.enclosing or "<" in each.enclosing for each in query.selectors)
    )


def notices_waiting_pod(query: Query) -> bool:
    """Whether a query reads what waits to be scheduled or to become ready."""
    wanted = any(each.endswith(("_spec_replicas", "_status_replicas")) for each in query.metrics)
    ready = any("_status_replicas_" in each for each in query.metrics)
    return (wanted and ready) or any(each.startswith(_WAITING_PODS) for each in query.metrics)


@rule(id="LLM510", name="nobody-notices", severity=Severity.WARNING, kinds=("ScaledObject", "HorizontalPodAutoscaler"))
def nobody_notices(document: Document, context: Context) -> Iterator[Finding]:
    """No alert notices a blind autoscaler, a hung replica or a pod that waits for a GPU.

    What:
        A release has alerts on its engine and an autoscaler, but none that fires when the autoscaler's metrics are
        missing, when an engine holds requests and computes nothing, or when a pod stays unscheduled. A note where
        none of the three is there, since they may be in another release.

    Why it hurts:
        These three fail silently: replica counts freeze, requests hang behind green health checks, and the
        autoscaler counts a Pending pod as a replica.

    Bad:
        Alerts on latency and queue length only.

    Good:
        Alerts such as `absent(vllm:num_requests_running{...})`, `vllm:num_requests_running > 0 and on (pod)
        rate(vllm:iteration_tokens_total_count[5m]) == 0`, and `kube_pod_status_unschedulable > 0`.

    References:
        https://prometheus.io/docs/practices/alerting/
        https://keda.sh/docs/latest/integrations/prometheus/
    """
    scaler = view(document, context)
    queries = [query for each in alerts_of(context.release) if (query := each.query) is not None]
    if not serves_a_model(scaler) or not any(engine_selectors(each) for each in queries):
        return
    missing = []
    if not any(notices_blindness(each) for each in queries):
        missing.append("the autoscaler loses its metrics")
    if not any(notices_hang(each) for each in queries):
        missing.append("an engine holds requests but computes nothing")
    if not any(notices_waiting_pod(each) for each in queries):
        missing.append("a pod waits for a GPU")
    for each in missing:
        finding = context.finding(document, f"no alert of this release notices when {each}", hint=_HINTS[each])
        # Where all three are missing, they may well be in another release, such as the platform's.
        yield replace(finding, severity=Severity.NOTE) if len(missing) == len(_HINTS) else finding
