"""LLM114."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._probes import delays_instead
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM114", name="initial-delay-instead-of-startup-probe", severity=Severity.WARNING, kinds=SERVING)
def initial_delay_instead_of_startup_probe(document: Document, context: Context) -> Iterator[Finding]:
    """A fixed delay stands in for a startup probe.

    What:
        There is no `startupProbe`, and the readiness or liveness probe waits 30 seconds or longer by
        `initialDelaySeconds`.

    Why it hurts:
        A delay is a guess for one model on one disk: too short and the container is killed while it
        loads, too long and a fast start serves nothing for minutes. It cannot follow the model.

    Bad:
        `livenessProbe: {initialDelaySeconds: 600, ...}`

    Good:
        A `startupProbe` with many attempts, liveness and readiness without delay.

    References:
        https://kubernetes.io/docs/concepts/workloads/pods/probes/
    """
    for engine in engine_containers(document):
        for each in delays_instead(engine):
            if not engine.is_worker:
                yield context.finding(
                    document,
                    f"{engine}: {each.name} waits {each.initial_delay} s instead of a startup probe",
                    path=f"{each.path}.initialDelaySeconds",
                    hint="add a startupProbe and remove the delay",
                )
