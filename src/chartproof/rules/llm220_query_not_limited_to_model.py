"""LLM220."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.autoscaler import Trigger
from chartproof.findings import Finding, Severity
from chartproof.languages.promql import Query, Selector
from chartproof.metrics import is_engine_series
from chartproof.release import Document
from chartproof.rules._autoscaling import engine_selectors, prometheus_triggers, query_path, view
from chartproof.rules._query_checks import unlimited
from chartproof.rules.registry import Context, rule


@rule(id="LLM220", name="query-not-limited-to-model", severity=Severity.ERROR, kinds=("ScaledObject",))
def query_not_limited_to_model(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger counts the requests of every model in the cluster.

    What:
        The query of a Prometheus trigger reads engine metrics without a matcher on the model, pod, job or service.
        Without one on the namespace only, a warning where other triggers have it, else a note: a second copy of the
        model elsewhere is counted.

    Why it hurts:
        Load of one model scales all models: idle ones get GPUs, and the sum never falls while anybody works.

    Bad:
        `sum(vllm:num_requests_running)`

    Good:
        `sum(vllm:num_requests_running{namespace="llm",model_name="llama-3.1-8b"})`

    References:
        https://github.com/volcano-sh/kthena/pull/868
        https://keda.sh/docs/latest/scalers/prometheus/
    """
    scaler = view(document, context)
    name = scaler.engines[0].served_model_name if scaler.engines else "<served model name>"
    limited: list[tuple[Trigger, bool]] = []
    for trigger in prometheus_triggers(scaler):
        query = trigger.query
        if query is None or not engine_selectors(query):
            continue
        loose = list(unlimited(query, context.release))
        if loose:
            yield context.finding(
                document,
                f"{trigger.label}: {loose[0].metric} is summed over every model of the cluster",
                path=query_path(trigger),
                hint=f'add {{model_name="{name}"}} to the selector',
            )
        else:
            limited.append((trigger, all(_in_one_namespace(each) for each in engine_parts(query))))
    for trigger, in_one_namespace in limited:
        if in_one_namespace:
            continue
        finding = context.finding(
            document,
            f"{trigger.label}: the query also counts the same model in other namespaces",
            path=query_path(trigger),
            hint=f'add namespace="{context.release.namespace_of(document)}" to the selector',
        )
        # Where other triggers name the namespace, this one has lost it.
        severity = Severity.WARNING if any(fits for _, fits in limited) else Severity.NOTE
        yield replace(finding, severity=severity)


def _in_one_namespace(selector: Selector) -> bool:
    return any(selector.matcher(each) is not None for each in ("namespace", "pod", "job", "exported_namespace"))


def engine_parts(query: Query) -> list[Selector]:
    """Selectors of the engine's own series."""
    return [each for each in query.selectors if is_engine_series(each.metric)]
