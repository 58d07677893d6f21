"""LLM705."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._budgets import budgets_of
from chartproof.rules._selection import replica_range
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM705",
    name="missing-disruption-budget",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "LeaderWorkerSet"),
)
def missing_disruption_budget(document: Document, context: Context) -> Iterator[Finding]:
    """Several replicas of an engine, and nothing keeps them from being evicted together.

    What:
        An engine that runs, or may scale, to more than one replica has no PodDisruptionBudget.

    Why it hurts:
        A node upgrade or a consolidation empties several nodes at once. All replicas load their model at
        the same time, and nobody serves for minutes.

    Bad:
        A ScaledObject up to 10 replicas, without a budget.

    Good:
        A PodDisruptionBudget with `maxUnavailable: 1` on the engine's labels.

    References:
        https://kubernetes.io/docs/tasks/run-application/configure-pdb/
    """
    if not any(engine_containers(document)):
        return
    most = replica_range(context.release, document).most
    if most > 1 and not any(budgets_of(context.release, document)):
        yield context.finding(
            document,
            f"runs up to {most} replicas without a PodDisruptionBudget",
            hint="add one with maxUnavailable: 1 that selects these pods",
        )
