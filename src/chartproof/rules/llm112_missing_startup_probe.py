"""LLM112."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import delays_instead, probe
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM112", name="missing-startup-probe", severity=Severity.ERROR, kinds=SERVING)
def missing_startup_probe(document: Document, context: Context) -> Iterator[Finding]:
    """An engine has no startup probe.

    What:
        A container that serves a model has no `startupProbe` (and no long `initialDelaySeconds` in its
        place, which LLM114 reports).

    Why it hurts:
        Loading takes minutes. Without a startup probe either the liveness probe restarts the container
        while it loads, again and again, or it has to be so patient that a hung engine stays for minutes.

    Bad:
        `livenessProbe: {httpGet: {path: /health, port: http}, periodSeconds: 10}` alone.

    Good:
        `startupProbe: {httpGet: {path: /health, port: http}, periodSeconds: 10, failureThreshold: 90}`
        beside it.

    References:
        https://kubernetes.io/docs/concepts/workloads/pods/probes/
        https://docs.vllm.ai/en/latest/deployment/k8s.html
    """
    for engine in engine_containers(document):
        if engine.is_worker or probe(engine, "startupProbe") is not None or delays_instead(engine):
            continue
        yield context.finding(
            document,
            f"{engine} has no startupProbe",
            path=engine.path,
            hint="add one on /health whose periodSeconds x failureThreshold is three times the load time",
        )
