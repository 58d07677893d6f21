"""LLM119."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import KNOWN_PATHS, Probe, local_targets, other_ports, probes
from chartproof.rules.registry import Context, rule
from chartproof.versions import format_version
from chartproof.workload import EngineContainer, engine_containers

#: Last SGLang release that was seen without /ready.
_SGLANG_WITHOUT_READY = (0, 5, 18)


@rule(id="LLM119", name="probe-on-wrong-path-or-port", severity=Severity.ERROR, kinds=SERVING)
def probe_on_wrong_path_or_port(document: Document, context: Context) -> Iterator[Finding]:
    """A probe knocks where the server does not answer.

    What:
        A probe's port is not the one the engine listens on (nor one that a sidecar declares), is a name
        that no port of the container has, its path is none that the server answers with GET, or its
        scheme is not the server's.

    Why it hurts:
        The probe fails for ever: the pod never becomes ready, or is restarted without end. The engine
        in it is healthy.

    Bad:
        `httpGet: {path: /healthz, port: 8080}` for `vllm serve ... --port 8000`

    Good:
        `httpGet: {path: /health, port: http}` with `ports: [{name: http, containerPort: 8000}]`

    References:
        https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
        https://docs.sglang.ai/basic_usage/native_api.html
    """
    for engine in engine_containers(document):
        if engine.is_worker:
            continue
        for each in probes(engine):
            for problem, hint in _problems(each, engine):
                yield context.finding(document, f"{engine}: {each.name} {problem}", path=each.path, hint=hint)


def _problems(each: Probe, engine: EngineContainer) -> Iterator[tuple[str, str]]:
    beside = other_ports(engine)
    for port, path, written in local_targets(each.body, engine):
        if port is None:
            yield (
                f"uses port {written!r}, which the container does not declare",
                "declare it under ports, or use a number",
            )
        elif port in beside and port != engine.port:
            continue  # a sidecar answers for the engine
        elif port != engine.port:
            yield f"knocks on port {port}, the engine listens on {engine.port}", f"use port {engine.port}"
        elif path and not _answered(path, engine):
            yield f"asks for {path}, which {engine.engine} does not answer", "use /health"
    if each.http and engine.option("--ssl-certfile") is not None and each.http.get("scheme", "HTTP") == "HTTP":
        yield "speaks HTTP, the engine has a certificate and speaks HTTPS", "write scheme: HTTPS"
    if each.http.get("scheme") == "HTTPS" and engine.option("--ssl-certfile") is None and not beside:
        yield "speaks HTTPS, the engine has no certificate", "leave scheme out"
    old = engine.engine == "sglang" and engine.version is not None and engine.version <= _SGLANG_WITHOUT_READY
    if old and engine.version and each.http_path == "/ready":
        yield f"asks for /ready, which SGLang {format_version(engine.version)} lacks", "use /health"


def _answered(path: str, engine: EngineContainer) -> bool:
    plain = path.partition("?")[0].rstrip("/") or "/"
    root = engine.option("--root-path") or engine.option("--fastapi-root-path")
    if root and plain.startswith(root.rstrip("/")):
        plain = plain[len(root.rstrip("/")) :] or "/"
    if engine.option("--middleware") is not None:
        return True
    return plain in KNOWN_PATHS[engine.engine]
