"""LLM247."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._autoscaling import prometheus_triggers, view
from chartproof.rules.registry import Context, rule


@rule(id="LLM247", name="prometheus-address-invalid", severity=Severity.ERROR, kinds=("ScaledObject",))
def prometheus_address_invalid(document: Document, context: Context) -> Iterator[Finding]:
    """The address of Prometheus in a trigger is no URL that KEDA can ask.

    What:
        `serverAddress` has no `http://` or `https://`, no host, or already holds the API path that KEDA
        appends.

    Why it hurts:
        Every poll fails, and one failing trigger freezes the whole ScaledObject.

    Bad:
        `serverAddress: prometheus.monitoring:9090`

    Good:
        `serverAddress: http://prometheus.monitoring:9090`

    References:
        https://keda.sh/docs/latest/scalers/prometheus/
    """
    for trigger in prometheus_triggers(view(document, context)):
        address = trigger.metadata.get("serverAddress", "")
        if not address:
            continue
        url = urlsplit(address)
        path = f"{trigger.path}.metadata.serverAddress"
        if url.scheme not in {"http", "https"} or not url.hostname:
            yield context.finding(
                document,
                f"{trigger.label}: serverAddress {address!r} is no http or https URL",
                path=path,
                hint=f"write http://{address.rpartition('://')[2].lstrip('/')}",
            )
        elif "/api/v1" in url.path:
            yield context.finding(
                document,
                f"{trigger.label}: KEDA appends /api/v1/query to serverAddress itself",
                path=path,
                hint=f"write {address.partition('/api/v1')[0]}",
            )
