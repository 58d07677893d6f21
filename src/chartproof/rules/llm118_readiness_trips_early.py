"""LLM118."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import probe
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

#: A stall that a healthy engine has under load, in seconds: a long prefill, a garbage collection.
_STALL_SECONDS = 5


@rule(id="LLM118", name="readiness-trips-early", severity=Severity.WARNING, kinds=SERVING)
def readiness_trips_early(document: Document, context: Context) -> Iterator[Finding]:
    """A short stall takes a replica out of the Service.

    What:
        The readiness probe fails for good after less than 5 seconds without an answer:
        `(failureThreshold - 1) x periodSeconds + timeoutSeconds`.

    Why it hurts:
        Replicas leave the Service one after the other under load; each passes its share to the others,
        until none is left.

    Bad:
        `readinessProbe: {periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 1}`

    Good:
        `readinessProbe: {periodSeconds: 5, timeoutSeconds: 10, failureThreshold: 3}`

    References:
        https://kubernetes.io/docs/concepts/workloads/pods/probes/
    """
    for engine in engine_containers(document):
        found = probe(engine, "readinessProbe")
        if found is None or engine.is_worker:
            continue
        stall = (found.failures - 1) * found.period + found.timeout
        if stall < _STALL_SECONDS:
            yield context.finding(
                document,
                f"{engine}: {stall} s without an answer take it out of the Service",
                path=found.path,
                hint="write periodSeconds: 5, timeoutSeconds: 10, failureThreshold: 3",
            )
