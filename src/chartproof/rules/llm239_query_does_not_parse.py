"""LLM239."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.promql import PromqlError, parse
from chartproof.release import Document
from chartproof.rules._autoscaling import prometheus_triggers, query_path, view
from chartproof.rules.registry import Context, rule


def _hint(text: str) -> str:
    if text.count("(") != text.count(")"):
        return f"it has {text.count('(')} opening and {text.count(')')} closing parentheses"
    if "{{" in text or "${" in text:
        return "a placeholder was left in it"
    return "try it in the Prometheus UI"


@rule(id="LLM239", name="query-does-not-parse", severity=Severity.ERROR, kinds=("ScaledObject",))
def query_does_not_parse(document: Document, context: Context) -> Iterator[Finding]:
    """The PromQL of a trigger does not parse.

    What:
        The query of a Prometheus trigger is no PromQL, or still holds a placeholder.

    Why it hurts:
        Prometheus answers 400 at every poll. One failing trigger freezes the whole ScaledObject: the replicas
        stay as they are, zero included.

    Bad:
        `sum(rate(vllm:prompt_tokens_total[1m])`

    Good:
        `sum(rate(vllm:prompt_tokens_total[1m]))`

    References:
        https://prometheus.io/docs/prometheus/latest/querying/basics/
        https://keda.sh/docs/latest/scalers/prometheus/
    """
    for trigger in prometheus_triggers(view(document, context)):
        text = trigger.query_text
        try:
            parse(text)
        except PromqlError as error:
            if not text.strip():
                continue
            yield context.finding(
                document,
                f"{trigger.label}: the query does not parse: {error}",
                path=query_path(trigger),
                hint=_hint(text),
            )
