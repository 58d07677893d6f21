"""LLM513."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.promql import of_expression
from chartproof.release import Document
from chartproof.rules._alerts import KINDS, rules_of
from chartproof.rules._query_checks import broken_quantiles, outside_range, unknown_labels
from chartproof.rules._query_subjects import not_of_this_release
from chartproof.rules.registry import Context, rule


@rule(id="LLM513", name="alert-misreads-metric", severity=Severity.ERROR, kinds=KINDS)
def alert_misreads_metric(document: Document, context: Context) -> Iterator[Finding]:
    """An alert can never fire, or always does: wrong label or model, lost buckets, threshold out of range.

    What:
        The expression of an alert selects by a label or value that the metric never has, asks for a model,
        namespace or pod that is not the release's, takes a quantile without `rate` or `le`, or compares with a
        number outside the metric's unit (percent on a share from 0 to 1, milliseconds on seconds, bytes on
        MiB).

    Why it hurts:
        The alert is green for ever, or red for ever. Either way it says nothing.

    Bad:
        `max(vllm:kv_cache_usage_perc) > 80`

    Good:
        `100 * max(vllm:kv_cache_usage_perc) > 80`

    References:
        https://docs.vllm.ai/en/latest/usage/metrics/
        https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
    """
    release = context.release
    for each in rules_of(document):
        query = each.query
        if query is None:
            continue
        ranges = (
            outside_range(of_expression(expression), number, operator=operator)
            for expression, operator, number in query.comparisons()
            if operator in {">", ">=", "<", "<="}
        )
        for problem in (
            *unknown_labels(query, release),
            *not_of_this_release(query, release, []),
            *broken_quantiles(query),
            *(each for each in ranges if each is not None),
        ):
            yield context.finding(
                document, f"{each.label}: {problem.message}", path=f"{each.path}.expr", hint=problem.hint
            )
