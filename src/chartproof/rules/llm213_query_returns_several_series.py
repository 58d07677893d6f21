"""LLM213."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import prometheus_triggers, query_path, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM213", name="query-returns-several-series", severity=Severity.ERROR, kinds=("ScaledObject",))
def query_returns_several_series(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger's query can return more than one series, which KEDA takes as an error.

    What:
        The PromQL of a Prometheus trigger is not reduced to one series: no aggregation, a `by (...)` over
        labels that vary, or an `or` of results with different labels.

    Why it hurts:
        It works with one replica. With the second, KEDA reports "returned multiple elements" and all scaling of
        the workload freezes at 2.

    Bad:
        `query: vllm:num_requests_waiting{model_name="m"}`

    Good:
        `query: sum(vllm:num_requests_waiting{model_name="m"})`

    References:
        https://keda.sh/docs/latest/scalers/prometheus/
        https://github.com/vllm-project/production-stack/blob/main/helm/templates/scaledobject-vllm.yaml
    """
    for trigger in prometheus_triggers(view(document, context)):
        query = trigger.query
        if query is None or query.shape.single:
            continue
        varying = query.shape.varying
        by = f", one per {', '.join(sorted(varying))}" if varying else ""
        yield context.finding(
            document,
            f"{trigger.label}: the query can return several series{by}; KEDA then errs and scaling freezes",
            path=query_path(trigger),
            hint="wrap it in sum(...), without by (...)",
        )
