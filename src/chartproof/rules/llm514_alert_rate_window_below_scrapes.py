"""LLM514."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._alerts import KINDS, rules_of
from chartproof.rules._monitors import ASSUMED_INTERVAL_SECONDS, scrape_interval_seconds
from chartproof.rules._query_checks import short_windows
from chartproof.rules.registry import Context, rule


@rule(id="LLM514", name="alert-rate-window-below-scrapes", severity=Severity.WARNING, kinds=KINDS)
def alert_rate_window_below_scrapes(document: Document, context: Context) -> Iterator[Finding]:
    """An alert takes a rate over a window of fewer than four scrapes.

    What:
        The range of `rate` or `increase` in an alert is shorter than four times the scrape interval (of the
        release's monitor, else 15 s).

    Why it hurts:
        One late or lost scrape leaves the expression empty: the alert resolves and fires again, or never fires.

    Bad:
        `rate(...[30s])` with `interval: 15s`

    Good:
        `rate(...[2m])` with `interval: 15s`

    References:
        https://prometheus.io/docs/prometheus/latest/querying/functions/#rate
    """
    interval = scrape_interval_seconds(context.release) or ASSUMED_INTERVAL_SECONDS
    for each in rules_of(document):
        for selector, least in short_windows(each.query, interval) if each.query is not None else ():
            window = f"{selector.range_seconds:g} s at {interval:g} s per scrape"
            yield context.finding(
                document,
                f"{each.label}: a rate over {window} breaks with a missed one",
                path=f"{each.path}.expr",
                hint=f"write [{least:g}s] or more",
            )
