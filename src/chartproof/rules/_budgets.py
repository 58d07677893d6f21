"""Pod disruption budgets: what they select, and how many pods they let go."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.release import Document, Release
from chartproof.rules._selection import ReplicaRange, caught_by_label_selector, replica_range

#: Workloads whose replicas a budget counts.
REPLICATED = ("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet")


def protected(release: Release, budget: Document) -> list[Document]:
    """Replicated workloads whose pods a budget selects."""
    return [
        workload
        for workload, _ in caught_by_label_selector(release, budget, "spec", "selector")
        if workload.kind in REPLICATED
    ]


def budgets_of(release: Release, workload: Document) -> Iterator[Document]:
    """Budgets that select pods of a workload."""
    for budget in release.of_kind("PodDisruptionBudget"):
        if any(each is workload for each in protected(release, budget)):
            yield budget


def replicas_of(release: Release, budget: Document) -> ReplicaRange | None:
    """Replicas of the largest workload that a budget selects; None where it selects none."""
    ranges = [replica_range(release, each) for each in protected(release, budget)]
    return max(ranges, key=lambda each: each.most, default=None)


def allowed_number(value: object, replicas: int) -> int | None:
    """Pods that an int-or-percent of a budget means (percentages round up); None where it is neither."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    text = str(value)
    if text.isdigit():
        return int(text)
    if text.endswith("%") and text[:-1].isdigit():
        return -(-int(text[:-1]) * replicas // 100)
    return None
