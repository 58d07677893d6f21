"""LLM301."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import Obstacle, blocked_by, gpu_pods_in


@rule(
    id="LLM301",
    name="pool-taint-not-tolerated",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def pool_taint_not_tolerated(document: Document, context: Context) -> Iterator[Finding]:
    """GPU pods do not tolerate the taints of the pools that are meant for them.

    What:
        A pod that asks for `nvidia.com/gpu` fits no GPU pool of the release, and on the nearest pools a taint
        is in the way: the toleration is missing, or names another key, value or effect.

    Why it hurts:
        Karpenter launches nothing for the pod, the scheduler keeps it off nodes that are there. It stays
        Pending for ever, and with an autoscaler every further replica with it.

    Bad:
        taint of the pool:   `{key: nvidia.com/gpu, value: "true", effect: NoSchedule}`
        toleration:          `{key: nvidia.com/gpu, operator: Equal, value: present, effect: NoSchedule}`

    Good:
        `{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}`

    References:
        https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
        https://karpenter.sh/docs/concepts/scheduling/
    """
    for subject in gpu_pods_in(document):
        for pool, reason in blocked_by(subject, context.release, Obstacle.TAINT):
            yield context.finding(
                document,
                f"{reason.message} of NodePool {pool.name!r}: its pods stay Pending",
                path=reason.path,
                hint=reason.hint,
            )
