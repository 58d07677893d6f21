"""LLM302."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.pool import gpu_pools_of
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, mismatches

#: Tolerations that people and admission controllers add everywhere.
_COMMON = re.compile(
    r"^(node(\.cloudprovider)?\.kubernetes\.io/|node-role\.kubernetes\.io/|karpenter\.sh/|CriticalAddonsOnly$)"
)


@rule(
    id="LLM302",
    name="toleration-without-taint",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def toleration_without_taint(document: Document, context: Context) -> Iterator[Finding]:
    """A toleration names a taint that no pool has.

    What:
        A GPU pod tolerates a taint by key, and no GPU pool of the release has a taint (or startup taint) with
        that key. An error where a pool's own taint is left without toleration, so that the key was evidently
        meant for it; a note where the toleration is merely superfluous.

    Why it hurts:
        The misspelled toleration does nothing: the pods cannot land on the pool that was meant.

    Bad:
        toleration `{key: nvidia.com/gpus, operator: Exists}` beside a pool with taint `nvidia.com/gpu`

    Good:
        toleration `{key: nvidia.com/gpu, operator: Exists}`

    References:
        https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
    """
    pools = gpu_pools_of(context.release)
    if not pools:
        return
    keys = {taint.key for pool in pools for taint in (*pool.taints, *pool.startup_taints)}
    for subject in gpu_pods_in(document):
        untolerated = sorted(
            {
                taint.key
                for pool in pools
                for taint in pool.taints
                if taint.repels and not any(taint.tolerated_by(each) for each in subject.tolerations)
            }
        )
        stranded = all(mismatches(subject, pool) for pool in pools)
        for i, toleration in enumerate(subject.tolerations):
            key = str(dig(toleration, "key", default=""))
            if not key or key in keys or _COMMON.match(key):
                continue
            found = context.finding(
                document,
                f"tolerates {key!r}, a taint that no GPU pool of the release has",
                path=f"{subject.path('tolerations')}[{i}].key",
                hint=f"the pools have: {', '.join(sorted(keys)) or 'no taints'}",
            )
            yield found if untolerated and stranded else replace(found, severity=Severity.NOTE)
