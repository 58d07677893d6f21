"""LLM707."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._budgets import allowed_number, protected, replicas_of
from chartproof.rules._selection import together
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM707",
    name="disruption-budget-never-satisfied",
    severity=Severity.ERROR,
    kinds=("PodDisruptionBudget",),
)
def disruption_budget_never_satisfied(document: Document, context: Context) -> Iterator[Finding]:
    """A PodDisruptionBudget never lets any pod go.

    What:
        `maxUnavailable` is 0, `minAvailable` is at least the most replicas there can be, both are given,
        or a second budget selects the same pods.

    Why it hurts:
        Evictions are refused for ever: node upgrades, drift and consolidation wait, then stop at a
        timeout or kill the pods without a drain.

    Bad:
        `minAvailable: 1` on a Deployment with one replica.

    Good:
        `maxUnavailable: 1`

    References:
        https://kubernetes.io/docs/concepts/workloads/pods/disruptions/
        https://kubernetes.io/docs/tasks/run-application/configure-pdb/
    """
    fewest = document.get("spec", "minAvailable")
    most = document.get("spec", "maxUnavailable")
    replicas = replicas_of(context.release, document)
    if fewest is not None and most is not None:
        yield context.finding(
            document,
            "minAvailable and maxUnavailable exclude each other",
            path="spec",
            hint="keep maxUnavailable: 1",
        )
    if most is not None and allowed_number(most, 100) == 0:
        yield context.finding(
            document, f"maxUnavailable {most} allows no eviction", path="spec.maxUnavailable", hint="write 1"
        )
    if fewest is not None and replicas is not None and replicas.most > 0:
        number = allowed_number(fewest, replicas.most)
        if number is not None and number >= replicas.most:
            yield context.finding(
                document,
                f"minAvailable {fewest} allows no eviction: there are at most {replicas.most} replicas",
                path="spec.minAvailable",
                hint="write maxUnavailable: 1 instead",
            )
    yield from _second(document, context)


def _second(document: Document, context: Context) -> Iterator[Finding]:
    mine = protected(context.release, document)
    for other in context.release.of_kind("PodDisruptionBudget"):
        if other is document or not together(context.release, document, other):
            continue
        shared = [each for each in protected(context.release, other) if any(each is own for own in mine)]
        if shared and other.identity != document.identity:
            yield context.finding(
                document,
                f"{other.identity} selects the pods of {shared[0].identity} too: with two budgets no pod is evicted",
                path="spec.selector",
                hint="keep one budget per pod",
            )
