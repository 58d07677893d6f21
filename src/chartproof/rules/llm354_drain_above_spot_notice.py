"""LLM354."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import CAPACITY_TYPE
from chartproof.release import Document
from chartproof.rules._pods import grace_seconds
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, pod_requirements

#: Seconds between EC2's interruption notice and the end of a spot instance.
_NOTICE_SECONDS = 120


@rule(
    id="LLM354",
    name="drain-above-spot-notice",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"),
)
def drain_above_spot_notice(document: Document, context: Context) -> Iterator[Finding]:
    """Pods on spot nodes want more time to stop than EC2 gives.

    What:
        A GPU pod that may run on spot nodes (by a pool of the release that it fits, or by its own requirements)
        has a `terminationGracePeriodSeconds` above 120.

    Why it hurts:
        EC2 takes a spot instance two minutes after its notice, whatever the pod says: requests that run longer
        are cut off.

    Bad:
        `terminationGracePeriodSeconds: 600` on a spot pool

    Good:
        `terminationGracePeriodSeconds: 115`, or on-demand nodes for long answers

    References:
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
    """
    for subject in gpu_pods_in(document):
        seconds = grace_seconds(subject.pod)
        own = [each[CAPACITY_TYPE] for each in pod_requirements(subject.pod) if CAPACITY_TYPE in each]
        if seconds <= _NOTICE_SECONDS or any(not each.allows("spot") for each in own):
            continue
        pools = [pool.name for pool in subject.placed_on(context.release) if pool.buys_spot]
        if pools or any(each.named for each in own):
            where = f"NodePool {pools[0]!r}" if pools else "its own requirement"
            yield context.finding(
                document,
                f"wants {seconds} s to stop, and {where} allows spot nodes, which go after {_NOTICE_SECONDS} s",
                path=subject.path("terminationGracePeriodSeconds"),
                hint="keep drain and preStop together below 120 s, or leave spot out",
            )
