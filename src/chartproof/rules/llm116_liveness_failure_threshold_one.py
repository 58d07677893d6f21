"""LLM116."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import probe
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM116", name="liveness-failure-threshold-one", severity=Severity.ERROR, kinds=SERVING)
def liveness_failure_threshold_one(document: Document, context: Context) -> Iterator[Finding]:
    """A single missed liveness probe restarts the engine.

    What:
        `failureThreshold: 1` in the liveness probe.

    Why it hurts:
        A busy event loop misses a probe now and then. Each miss aborts all running requests and costs a
        full load of the model, under exactly the load that caused it.

    Bad:
        `livenessProbe: {failureThreshold: 1, ...}`

    Good:
        `failureThreshold: 6` with `periodSeconds: 15` and `timeoutSeconds: 10`.

    References:
        https://kubernetes.io/docs/concepts/workloads/pods/probes/
    """
    for engine in engine_containers(document):
        found = probe(engine, "livenessProbe")
        if found is not None and found.failures == 1:
            yield context.finding(
                document,
                f"{engine}: one missed liveness probe restarts it",
                path=f"{found.path}.failureThreshold",
                hint="write 3 or more; 6 stands a stall of a minute and a half at a period of 15 s",
            )
