"""LLM117."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import Probe, probes
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

#: Timeouts in seconds up to which a loaded server misses probes: deadlines of 2 s caused several false
#: restarts a day in the field.
_SHORT = {"livenessProbe": 2, "readinessProbe": 1}
#: SGLang's /health generates a token and pauses a second before it answers.
_SGLANG_PAUSE_SECONDS = 1
_GENERATING = frozenset({"/health", "/health_generate"})


@rule(id="LLM117", name="probe-timeout-too-short", severity=Severity.WARNING, kinds=SERVING)
def probe_timeout_too_short(document: Document, context: Context) -> Iterator[Finding]:
    """A probe's timeout is shorter than a busy engine's answer.

    What:
        `timeoutSeconds` of an HTTP liveness probe is 2 or less, of a readiness probe 1 or less (the
        default is 1). Error for SGLang's `/health`, which takes longer than a second by design.

    Why it hurts:
        Under load the API server's event loop answers late: readiness flaps, liveness restarts healthy
        replicas, and the rest gets their traffic on top.

    Bad:
        `livenessProbe: {httpGet: {path: /health, port: http}}` (timeout 1 s by default)

    Good:
        `timeoutSeconds: 10`

    References:
        https://kubernetes.io/docs/concepts/workloads/pods/probes/
        https://docs.sglang.ai/advanced_features/server_arguments.html
    """
    for engine in engine_containers(document):
        for each in probes(engine):
            severity = _severity(each, engine)
            if severity is not None:
                finding = context.finding(
                    document,
                    f"{engine}: {each.name} waits {each.timeout} s for an answer"
                    + (
                        f", {engine.engine}'s {each.http_path} always takes longer"
                        if severity is Severity.ERROR
                        else ", which a busy server misses"
                    ),
                    path=f"{each.path}.timeoutSeconds",
                    hint="write timeoutSeconds: 10",
                )
                yield replace(finding, severity=severity)


def _severity(each: Probe, engine: EngineContainer) -> Severity | None:
    if not each.http or engine.is_worker:
        return None
    static = str(engine.environment.get("SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION", "")).lower() in {"0", "false"}
    if engine.engine == "sglang" and each.http_path in _GENERATING and not static:
        return Severity.ERROR if each.timeout <= _SGLANG_PAUSE_SECONDS else None
    return Severity.WARNING if each.timeout <= _SHORT.get(each.name, 0) else None
