"""LLM142."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import STATIC_PATHS, other_ports, probes, resolve_port
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM142", name="readiness-on-static-endpoint", severity=Severity.WARNING, kinds=SERVING)
def readiness_on_static_endpoint(document: Document, context: Context) -> Iterator[Finding]:
    """Readiness or liveness asks something that a dead engine still answers.

    What:
        The readiness or liveness probe of an engine asks for `/v1/models`, `/version`, `/metrics` or
        another page that the HTTP server answers by itself, or only opens a TCP connection.

    Why it hurts:
        The engine runs in processes of its own. When they die the server still answers such a page with
        200: the replica keeps its traffic and fails all of it.

    Bad:
        `readinessProbe: {httpGet: {path: /v1/models}}`

    Good:
        `readinessProbe: {httpGet: {path: /health}}`, which is 503 once the engine is dead.

    References:
        https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    """
    for engine in engine_containers(document):
        if engine.is_worker:
            continue
        for each in probes(engine):
            if each.name == "startupProbe":
                continue
            tcp = each.body.get("tcpSocket")
            if isinstance(tcp, dict) and resolve_port(engine, tcp.get("port")) not in other_ports(engine):
                yield context.finding(
                    document,
                    f"{engine}: {each.name} only opens a connection, which a dead engine's server still accepts",
                    path=each.path,
                    hint="ask for /health by httpGet",
                )
            elif each.http_path in STATIC_PATHS:
                yield context.finding(
                    document,
                    f"{engine}: {each.name} asks for {each.http_path}, which stays 200 when the engine is dead",
                    path=each.path,
                    hint="ask for /health",
                )
