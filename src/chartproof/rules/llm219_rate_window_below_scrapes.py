"""LLM219."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import prometheus_triggers, query_path, view
from chartproof.rules._monitors import ASSUMED_INTERVAL_SECONDS, scrape_interval_seconds
from chartproof.rules._query_checks import short_windows
from chartproof.rules.registry import Context, rule


@rule(id="LLM219", name="rate-window-below-scrapes", severity=Severity.WARNING, kinds=("ScaledObject",))
def rate_window_below_scrapes(document: Document, context: Context) -> Iterator[Finding]:
    """A trigger takes a rate over a window of fewer than four scrapes.

    What:
        The range of `rate`, `increase` or the like in a trigger's query is shorter than four times the scrape
        interval (of the release's monitor, else 15 s).

    Why it hurts:
        Two samples make a rate. With a window of two or three scrapes, one late or lost scrape leaves the
        result empty, which counts as no load.

    Bad:
        `rate(...[15s])` with `interval: 15s`

    Good:
        `rate(...[1m])` with `interval: 15s`

    References:
        https://prometheus.io/docs/prometheus/latest/querying/functions/#rate
    """
    interval = scrape_interval_seconds(context.release)
    for trigger in prometheus_triggers(view(document, context)):
        if trigger.query is None:
            continue
        for selector, least in short_windows(trigger.query, interval or ASSUMED_INTERVAL_SECONDS):
            known = f"scraped every {interval:g} s" if interval else f"at {ASSUMED_INTERVAL_SECONDS:g} s per scrape"
            yield context.finding(
                document,
                f"{trigger.label}: a rate over {selector.range_seconds:g} s, {known}, breaks with a missed scrape",
                path=query_path(trigger),
                hint=f"write [{least:g}s] or more",
            )
