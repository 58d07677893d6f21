"""LLM501."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._monitor_targets import known_labels, missing_port, selects_elsewhere, serves_there
from chartproof.rules._monitors import endpoints, pods_of_monitor, services_of_monitor
from chartproof.rules.registry import Context, rule


@rule(id="LLM501", name="monitor-selects-nothing", severity=Severity.ERROR, kinds=("ServiceMonitor", "PodMonitor"))
def monitor_selects_nothing(document: Document, context: Context) -> Iterator[Finding]:
    """A monitor matches no Service or pod, or names a port or path that they do not have.

    What:
        The selector of a ServiceMonitor or PodMonitor matches nothing rendered in the namespaces it looks at,
        an endpoint names a port that the Service or container does not have, or it scrapes an engine on another
        path than `/metrics`.

    Why it hurts:
        Nothing is scraped and nothing says so: dashboards stay empty, alerts never fire, and the autoscaler
        counts the silence as no load.

    Bad:
        `endpoints: [{port: metrics}]` where the Service calls its port `http`.

    Good:
        `endpoints: [{port: http, path: /metrics}]`

    References:
        https://prometheus-operator.dev/docs/developer/getting-started/
        https://prometheus-operator.dev/docs/platform/troubleshooting/
    """
    release = context.release
    scraped = pods_of_monitor(document, release)
    targets = (
        services_of_monitor(document, release) if document.kind == "ServiceMonitor" else [each for each, _ in scraped]
    )
    if not targets:
        if selects_elsewhere(document, release):
            return
        what = "Service" if document.kind == "ServiceMonitor" else "pod"
        yield context.finding(
            document,
            f"its selector matches no {what} of this release in the namespaces it looks at",
            path="spec.selector",
            hint=f"use labels of the {what}: {known_labels(document, release)}",
        )
        return
    for endpoint, path in endpoints(document):
        port = missing_port(endpoint, targets, scraped)
        if port is not None:
            yield context.finding(
                document, f"port {port.wanted} does not exist on {targets[0].identity}", path=path, hint=port.hint
            )
        metrics_path = str(endpoint.get("path") or "/metrics")
        if metrics_path != "/metrics" and serves_there(endpoint, scraped):
            yield context.finding(
                document,
                f"the engine has its metrics on /metrics, not on {metrics_path}",
                path=f"{path}.path",
                hint="write path: /metrics",
            )
