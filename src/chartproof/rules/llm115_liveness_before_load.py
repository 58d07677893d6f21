"""LLM115."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import load_time, probe
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM115", name="liveness-before-load", severity=Severity.ERROR, kinds=SERVING)
def liveness_before_load(document: Document, context: Context) -> Iterator[Finding]:
    """The liveness probe can kill the engine before its model is loaded.

    What:
        Without a startup probe, `initialDelaySeconds + periodSeconds x failureThreshold` of the liveness
        probe is less than the planned load time.

    Why it hurts:
        The server listens only when the model is loaded; until then every liveness probe fails. The
        container is restarted while it loads, for ever.

    Bad:
        `livenessProbe: {initialDelaySeconds: 30, periodSeconds: 10, failureThreshold: 3}` (60 s)

    Good:
        A startup probe, which holds the liveness probe back until it has succeeded.

    References:
        https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
    """
    for engine in engine_containers(document):
        found = probe(engine, "livenessProbe")
        if found is None or engine.is_worker or probe(engine, "startupProbe") is not None:
            continue
        needed = load_time(engine, context.release)
        if found.budget < needed.seconds:
            yield context.finding(
                document,
                f"{engine}: the liveness probe kills after {found.budget} s, below {needed}",
                path=found.path,
                hint="add a startupProbe that allows three times the load time",
            )
