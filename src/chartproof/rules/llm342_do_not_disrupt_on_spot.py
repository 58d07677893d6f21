"""LLM342."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import CAPACITY_TYPE
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, pins_for_ever, pod_requirements


@rule(
    id="LLM342",
    name="do-not-disrupt-on-spot",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet"),
)
def do_not_disrupt_on_spot(document: Document, context: Context) -> Iterator[Finding]:
    """Pods on spot nodes are never to be disrupted.

    What:
        A GPU pod carries `karpenter.sh/do-not-disrupt: "true"` and may run on spot nodes: its own requirements
        or a pool of the release that it fits allow spot.

    Why it hurts:
        EC2 takes the node anyway after two minutes. With the annotation Karpenter launches no replacement
        before the pod is gone, and never evicts it gracefully: requests are cut off and capacity is missing for
        a whole cold start.

    Bad:
        `karpenter.sh/do-not-disrupt: "true"` on a spot pool

    Good:
        no annotation on spot; elsewhere `karpenter.sh/do-not-disrupt: "30m"`: protected while the model loads. A
        duration holds back a spot node's draining too, for as long as it runs

    References:
        https://karpenter.sh/docs/concepts/disruption/#pod-level-controls
    """
    for subject in gpu_pods_in(document):
        if not pins_for_ever(subject.pod):
            continue
        own = {each.get(CAPACITY_TYPE) for each in pod_requirements(subject.pod) if CAPACITY_TYPE in each}
        pools = [pool.name for pool in subject.placed_on(context.release) if pool.buys_spot]
        allowed = all(each is None or each.allows("spot") for each in own)
        if (own and allowed and any(each and each.named for each in own)) or (pools and allowed):
            where = f"NodePool {pools[0]!r}" if pools else "its own requirement"
            yield context.finding(
                document,
                f"must never be disrupted, but {where} allows spot nodes, which EC2 takes after 120 s",
                path=subject.pod.path_of("metadata", "annotations"),
                hint='remove it, or write a duration no longer than the model loads, such as "5m"',
            )
