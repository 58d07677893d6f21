"""LLM711."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import replica_range
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM711", name="recreate-with-replicas", severity=Severity.WARNING, kinds=("Deployment",))
def recreate_with_replicas(document: Document, context: Context) -> Iterator[Finding]:
    """An update stops all replicas at once.

    What:
        `strategy.type: Recreate` on an engine that runs or scales to more than one replica.

    Why it hurts:
        Every update is an outage of a whole cold start, although replicas could be replaced one by one.

    Bad:
        `strategy: {type: Recreate}` with 3 replicas.

    Good:
        `strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}`, which needs no
        further GPU either.

    References:
        https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#strategy
    """
    if document.get("spec", "strategy", "type") != "Recreate" or not any(engine_containers(document)):
        return
    most = replica_range(context.release, document).most
    if most > 1:
        yield context.finding(
            document,
            f"Recreate stops all of up to {most} replicas at every update",
            path="spec.strategy.type",
            hint="use RollingUpdate with maxSurge: 0 and maxUnavailable: 1",
        )
