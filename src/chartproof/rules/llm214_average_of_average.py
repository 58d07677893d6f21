"""LLM214."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.languages.formula import Node, names
from chartproof.languages.formula.syntax import Binary, Conditional, children
from chartproof.languages.promql import Query
from chartproof.metrics import metric_of
from chartproof.release import Document
from chartproof.rules._autoscaling import engine_selectors, prometheus_triggers, query_path, view
from chartproof.rules.registry import Context, rule


def is_share(query: Query) -> bool:
    """Whether a query reads only metrics that are shares of a whole."""
    found = [metric_of(each) for each in query.metrics]
    return bool(found) and all(each is not None and each.unit == "ratio" for each in found)


def adds_as_load(node: Node, name: str) -> bool:
    """Whether a formula reads a name other than in a condition or in a product with another trigger."""
    if isinstance(node, Conditional):
        return adds_as_load(node.then, name) or adds_as_load(node.otherwise, name)
    if isinstance(node, Binary) and node.operator == "*" and len(names(node)) > 1:
        return False
    found = children(node)
    if not found:
        return name in names(node)
    return any(adds_as_load(each, name) for each in found)


@rule(id="LLM214", name="average-of-average", severity=Severity.ERROR, kinds=("ScaledObject",))
def average_of_average(document: Document, context: Context) -> Iterator[Finding]:
    """A query averages over replicas, and the autoscaler divides by the replicas once more.

    What:
        The query of a trigger of metric type AverageValue is an `avg(...)` over the replicas (error), or the
        maximum or a quantile of a share such as KV-cache usage (warning), and no formula multiplies it by the
        replicas.

    Why it hurts:
        AverageValue already divides by the number of replicas. An average of 30 with 10 replicas reads as 3 per
        replica: the workload scales down under full load and never grows beyond a few replicas.

    Bad:
        `avg(vllm:num_requests_running{...})` with `threshold: "25"`

    Good:
        `sum(vllm:num_requests_running{...})` with `threshold: "25"`

    References:
        https://keda.sh/docs/latest/scalers/prometheus/
        https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
    """
    scaler = view(document, context)
    for trigger in prometheus_triggers(scaler):
        query = trigger.query
        value_type = scaler.modifiers.metric_type if scaler.modifiers else trigger.metric_type or "AverageValue"
        if query is None or value_type != "AverageValue" or not engine_selectors(query):
            continue
        if scaler.formula is not None and not adds_as_load(scaler.formula.tree, trigger.name):
            continue
        aggregation = query.outer_aggregation
        finding = context.finding(
            document,
            f"{trigger.label}: {aggregation}(...) does not grow with the replicas, but AverageValue divides it by them",
            path=query_path(trigger),
            hint="use sum(...); AverageValue makes it the mean per replica",
        )
        if aggregation == "avg":
            yield finding
        elif aggregation in {"max", "min", "quantile"} and is_share(query) and scaler.formula is None:
            yield replace(finding, severity=Severity.WARNING)
