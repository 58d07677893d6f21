"""LLM512."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._monitor_targets import annotated
from chartproof.rules._pods import container_ports
from chartproof.rules.registry import Context, rule


@rule(id="LLM512", name="annotations-port-mismatch", severity=Severity.ERROR, kinds=(*SERVING, "Service"))
def annotations_port_mismatch(document: Document, context: Context) -> Iterator[Finding]:
    """The `prometheus.io` annotations point at a port, path or scheme that the engine does not have.

    What:
        `prometheus.io/port` is no port of the pod, `prometheus.io/path` is not `/metrics`, or
        `prometheus.io/scheme` is https for an engine without TLS.

    Why it hurts:
        Prometheus scrapes a closed port: the target is down, dashboards are empty, and the autoscaler counts
        the silence as no load.

    Bad:
        `prometheus.io/port: "9090"` on a pod whose engine listens on 8000.

    Good:
        `prometheus.io/port: "8000"`

    References:
        https://github.com/prometheus-community/helm-charts/tree/main/charts/prometheus
        https://docs.vllm.ai/en/latest/usage/metrics/
    """
    for told, engine, prefix in annotated(document, context.release):
        if str(told.get("prometheus.io/scrape", "")).lower() != "true":
            continue
        port = str(told.get("prometheus.io/port") or "")
        ports = {str(engine.port)} | {str(each.get("containerPort")) for _, each in container_ports(engine.pod)}
        if port and port not in ports:
            yield context.finding(
                document,
                f"prometheus.io/port {port} is no port of the pod, whose engine listens on {engine.port}",
                path=f"{prefix}.prometheus.io/port",
                hint=f'write prometheus.io/port: "{engine.port}"',
            )
        path = str(told.get("prometheus.io/path") or "/metrics")
        if path.rstrip("/") != "/metrics" and port in {"", str(engine.port)}:
            yield context.finding(
                document,
                f"the engine has its metrics on /metrics, not on {path}",
                path=f"{prefix}.prometheus.io/path",
                hint="write prometheus.io/path: /metrics",
            )
        tls = engine.option("--ssl-keyfile", "--ssl-certfile") is not None
        if str(told.get("prometheus.io/scheme") or "http") == "https" and not tls:
            yield context.finding(
                document,
                "prometheus.io/scheme is https, and the engine serves plain http",
                path=f"{prefix}.prometheus.io/scheme",
                hint="write prometheus.io/scheme: http",
            )
