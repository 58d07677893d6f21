"""LLM504."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._alerts import KINDS, rules_of
from chartproof.rules.registry import Context, rule


@rule(id="LLM504", name="alert-without-context", severity=Severity.WARNING, kinds=KINDS)
def alert_without_context(document: Document, context: Context) -> Iterator[Finding]:
    """An alert lacks a severity, a summary or a runbook.

    What:
        An alert has no label `severity`, or no annotation that says what happened (`summary`, `description` or
        `message`). Without a link to a runbook only: a note.

    Why it hurts:
        Without a severity it is routed to nobody or to everybody; without words and a runbook, whoever is woken
        starts from nothing.

    Bad:
        `- alert: HighLatency` with `expr` only.

    Good:
        `labels: {severity: warning}`, `annotations: {summary: ..., runbook_url: ...}`

    References:
        https://prometheus.io/docs/practices/alerting/
        https://runbooks.prometheus-operator.dev/
    """
    for each in rules_of(document):
        if not each.is_alert:
            continue
        missing = [] if each.labels.get("severity") else ["a severity label"]
        if not any(each.annotations.get(key) for key in ("summary", "description", "message", "title")):
            missing.append("a summary")
        only_runbook = not missing
        if not any("runbook" in str(key).lower() and value for key, value in each.annotations.items()):
            missing.append("a runbook_url")
        if missing:
            finding = context.finding(
                document,
                f"{each.label} lacks {' and '.join(missing)}",
                path=each.path,
                hint="add labels.severity, annotations.summary and annotations.runbook_url",
            )
            yield replace(finding, severity=Severity.NOTE) if only_runbook else finding
