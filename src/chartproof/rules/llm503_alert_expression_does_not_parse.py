"""LLM503."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.promql import PromqlError, parse
from chartproof.release import Document
from chartproof.rules._alerts import KINDS, rules_of
from chartproof.rules.registry import Context, rule


@rule(id="LLM503", name="alert-expression-does-not-parse", severity=Severity.ERROR, kinds=KINDS)
def alert_expression_does_not_parse(document: Document, context: Context) -> Iterator[Finding]:
    """The expression of an alert or recording rule is no PromQL.

    What:
        An `expr` does not parse, or is empty.

    Why it hurts:
        Prometheus refuses the whole rule file, and with it all its other alerts; the operator's webhook refuses
        the object where it is installed.

    Bad:
        `expr: sum(rate(vllm:request_success_total[5m]) by (model_name)`

    Good:
        `expr: sum by (model_name) (rate(vllm:request_success_total[5m]))`

    References:
        https://prometheus.io/docs/prometheus/latest/querying/basics/
        https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
    """
    for each in rules_of(document):
        try:
            parse(each.text)
        except PromqlError as error:
            yield context.finding(
                document,
                f"{each.label}: the expression does not parse: {error}",
                path=f"{each.path}.expr",
                hint="try it in the Prometheus UI",
            )
