"""LLM235."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.autoscaler import Autoscaler
from chartproof.findings import Finding, Severity
from chartproof.languages.formula import Node
from chartproof.languages.formula.syntax import Binary, Literal, Name, children
from chartproof.languages.promql import of_expression
from chartproof.release import Document
from chartproof.rules._autoscaling import prometheus_triggers, query_path, view
from chartproof.rules._query_checks import Problem, outside_range
from chartproof.rules.registry import Context, rule


def formula_comparisons(node: Node) -> Iterator[tuple[str, str, float]]:
    """Comparisons of a trigger with a number in a formula."""
    match node:
        case Binary(("<" | ">" | "<=" | ">=") as operator, Name(name), Literal(int() | float() as number)):
            yield name, operator, float(number)
        case _:
            pass
    for each in children(node):
        yield from formula_comparisons(each)


@rule(id="LLM235", name="threshold-outside-metric-range", severity=Severity.ERROR, kinds=("ScaledObject",))
def threshold_outside_metric_range(document: Document, context: Context) -> Iterator[Finding]:
    """A threshold can never be reached, or is always exceeded, in the metric's unit.

    What:
        A threshold of a trigger, or a comparison in the query or formula, lies outside the range of the metric:
        percent on a gauge from 0 to 1, a share on percent, bytes where DCGM reports MiB, milliseconds where the
        metric is in seconds.

    Why it hurts:
        The trigger never fires, or always; nothing reports an error.

    Bad:
        `sum(vllm:kv_cache_usage_perc{...})` with `threshold: "80"`

    Good:
        `threshold: "0.8"`; or `100 * sum(vllm:kv_cache_usage_perc{...})`.

    References:
        https://docs.vllm.ai/en/latest/usage/metrics/
        https://docs.nvidia.com/datacenter/dcgm/latest/dcgm-api/dcgm-api-field-ids.html
    """
    scaler = view(document, context)
    for label, path, problem in (*_of_triggers(scaler), *_of_formula(scaler)):
        yield context.finding(document, f"{label}: {problem.message}", path=path, hint=problem.hint)


def _of_triggers(scaler: Autoscaler) -> Iterator[tuple[str, str, Problem]]:
    for trigger in prometheus_triggers(scaler):
        query = trigger.query
        if query is None:
            continue
        for expression, operator, number in query.comparisons():
            problem = outside_range(of_expression(expression), number, operator=operator)
            if problem is not None:
                yield trigger.label, query_path(trigger), problem
        if scaler.modifiers is not None:
            # Beside a formula, thresholds of triggers have no effect.
            continue
        per_replica = trigger.metric_type in {"", "AverageValue"}
        for key in ("threshold", "activationThreshold"):
            limit = trigger.number(key)
            problem = outside_range(query, limit, operator=">=", per_replica=per_replica) if limit else None
            if problem is not None:
                yield trigger.label, f"{trigger.path}.metadata.{key}", problem


def _of_formula(scaler: Autoscaler) -> Iterator[tuple[str, str, Problem]]:
    if scaler.formula is None or scaler.modifiers is None:
        return
    for name, operator, number in formula_comparisons(scaler.formula.tree):
        named = scaler.trigger(name)
        problem = outside_range(named.query, number, operator=operator) if named and named.query else None
        if problem is not None:
            yield f"formula: {name} {operator} {number:g}", f"{scaler.modifiers.path}.formula", problem
