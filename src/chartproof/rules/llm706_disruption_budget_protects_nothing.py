"""LLM706."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._budgets import allowed_number, replicas_of
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM706",
    name="disruption-budget-protects-nothing",
    severity=Severity.WARNING,
    kinds=("PodDisruptionBudget",),
)
def disruption_budget_protects_nothing(document: Document, context: Context) -> Iterator[Finding]:
    """A PodDisruptionBudget lets all pods go at once.

    What:
        `minAvailable` is 0 or 0 %, or `maxUnavailable` is 100 % or at least the most replicas (of more
        than one).

    Why it hurts:
        It looks like protection and is none: a node upgrade may empty every replica together.

    Bad:
        `minAvailable: 0`

    Good:
        `maxUnavailable: 1`

    References:
        https://kubernetes.io/docs/tasks/run-application/configure-pdb/
    """
    replicas = replicas_of(context.release, document)
    fewest = document.get("spec", "minAvailable")
    most = document.get("spec", "maxUnavailable")
    if fewest is not None and allowed_number(fewest, 100) == 0:
        yield context.finding(
            document,
            f"minAvailable {fewest} protects no pod",
            path="spec.minAvailable",
            hint="write maxUnavailable: 1 instead",
        )
    if most is None:
        return
    count = replicas.most if replicas else 0
    number = allowed_number(most, count or 100)
    if str(most) == "100%" or (count > 1 and number is not None and number >= count):
        yield context.finding(
            document,
            f"maxUnavailable {most} lets all {f'{count} ' if count else ''}replicas go at once",
            path="spec.maxUnavailable",
            hint="write maxUnavailable: 1",
        )
