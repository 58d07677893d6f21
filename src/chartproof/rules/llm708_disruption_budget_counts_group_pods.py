"""LLM708."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._budgets import allowed_number
from chartproof.rules._selection import caught_by_label_selector
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM708",
    name="disruption-budget-counts-group-pods",
    severity=Severity.ERROR,
    kinds=("PodDisruptionBudget",),
)
def disruption_budget_counts_group_pods(document: Document, context: Context) -> Iterator[Finding]:
    """A PodDisruptionBudget counts the pods of multi-node groups one by one.

    What:
        The budget selects workers of a LeaderWorkerSet whose groups have several pods, and its number is
        not that of whole groups.

    Why it hurts:
        One replica is a whole group: losing one worker ends it. A budget that lets one pod go at a time
        lets one group after the other die, although enough pods are "available".

    Bad:
        `maxUnavailable: 1` over all pods of two groups of four.

    Good:
        A budget on the leaders only, or `minAvailable` in multiples of the group's size.

    References:
        https://lws.sigs.k8s.io/docs/overview/
        https://kubernetes.io/docs/tasks/run-application/configure-pdb/
    """
    for workload, pod in caught_by_label_selector(context.release, document, "spec", "selector"):
        size = workload.get("spec", "leaderWorkerTemplate", "size", default=1)
        if (
            workload.kind != "LeaderWorkerSet"
            or not isinstance(size, int)
            or size == 1
            or "workerTemplate" not in pod.path
        ):
            continue
        if _leaders_only(document):
            continue
        fewest = document.get("spec", "minAvailable")
        number = allowed_number(fewest, 0) if isinstance(fewest, int) else None
        if number and number % size == 0:
            continue
        yield context.finding(
            document,
            f"counts the pods of {workload.identity} one by one, and {size} of them are one replica",
            path="spec.selector",
            hint="select only the leaders, by a label of the leader template",
        )
        return


def _leaders_only(budget: Document) -> bool:
    labels = budget.get("spec", "selector", "matchLabels", default={})
    return str(labels.get("leaderworkerset.sigs.k8s.io/worker-index", "")) == "0"
