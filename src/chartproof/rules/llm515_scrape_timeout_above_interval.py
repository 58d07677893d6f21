"""LLM515."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.duration import DurationError, prometheus_seconds
from chartproof.release import Document
from chartproof.rules._monitors import endpoints
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM515", name="scrape-timeout-above-interval", severity=Severity.ERROR, kinds=("ServiceMonitor", "PodMonitor")
)
def scrape_timeout_above_interval(document: Document, context: Context) -> Iterator[Finding]:
    """The scrape timeout of a monitor is longer than its interval.

    What:
        `scrapeTimeout` of an endpoint is above its `interval`.

    Why it hurts:
        Prometheus refuses such a configuration, so that the operator leaves the whole monitor out: nothing is
        scraped, and only the operator's log says why.

    Bad:
        `interval: 10s` with `scrapeTimeout: 30s`

    Good:
        `interval: 15s` with `scrapeTimeout: 10s`

    References:
        https://prometheus.io/docs/prometheus/latest/configuration/configuration/#scrape_config
        https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.Endpoint
    """
    for endpoint, path in endpoints(document):
        try:
            interval = prometheus_seconds(str(endpoint.get("interval") or ""))
            timeout = prometheus_seconds(str(endpoint.get("scrapeTimeout") or ""))
        except DurationError:
            continue
        if timeout > interval:
            yield context.finding(
                document,
                f"scrapeTimeout {endpoint['scrapeTimeout']} is above the interval of {endpoint['interval']}",
                path=f"{path}.scrapeTimeout",
                hint=f"write scrapeTimeout: {endpoint['interval']} or less",
            )
