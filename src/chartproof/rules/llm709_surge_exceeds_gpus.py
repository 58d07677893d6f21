"""LLM709."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release, dig
from chartproof.rules._selection import replica_range
from chartproof.rules.registry import Context, rule
from chartproof.workload import GPU_RESOURCE, engine_containers, gpu_count


@rule(id="LLM709", name="surge-exceeds-gpus", severity=Severity.ERROR, kinds=("Deployment",))
def surge_exceeds_gpus(document: Document, context: Context) -> Iterator[Finding]:
    """A rolling update needs a GPU that the pools may not have.

    What:
        No replica may be missing during an update (`maxUnavailable` comes to 0), and all replicas plus
        the surge need more GPUs than the limits of the release's NodePools allow together; or the surge
        is 0 as well.

    Why it hurts:
        The new pod stays Pending, no old one is stopped, and the update waits until its deadline: a fix
        cannot be rolled out at peak.

    Bad:
        4 replicas of 1 GPU, `maxSurge: 1`, `maxUnavailable: 0`, and a pool limit of 4 GPUs.

    Good:
        A limit of 5, or `maxSurge: 0` with `maxUnavailable: 1`.

    References:
        https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment
        https://karpenter.sh/docs/concepts/nodepools/#speclimits
    """
    gpus = sum(gpu_count(each) for pod in document.pod_templates for each in pod.containers())
    if not gpus or not any(engine_containers(document)):
        return
    if document.get("spec", "strategy", "type", default="RollingUpdate") != "RollingUpdate":
        return
    replicas = replica_range(context.release, document)
    most = max(1, replicas.most)
    surge = _number(document.get("spec", "strategy", "rollingUpdate", "maxSurge", default="25%"), most, up=True)
    missing = _number(
        document.get("spec", "strategy", "rollingUpdate", "maxUnavailable", default="25%"), most, up=False
    )
    if surge is None or missing is None or missing > 0:
        return
    if surge == 0:
        yield context.finding(
            document,
            "maxSurge and maxUnavailable both come to 0: no update can start",
            path="spec.strategy.rollingUpdate",
            hint="write maxSurge: 0 and maxUnavailable: 1, or maxSurge: 1",
        )
        return
    limit = _limit(document, context.release)
    needed = (most + surge) * gpus
    if limit is not None and needed > limit:
        yield context.finding(
            document,
            f"an update at {most} replicas needs {needed} GPUs ({most} + {surge} surge, {gpus} each), "
            f"the pools may have {limit}",
            path="spec.strategy.rollingUpdate",
            hint=f"raise the pools' limit to {needed}, or write maxSurge: 0 and maxUnavailable: 1",
        )


def _number(value: object, replicas: int, *, up: bool) -> int | None:
    if isinstance(value, int):
        return value
    text = str(value)
    if text.endswith("%") and text[:-1].isdigit():
        share = int(text[:-1]) * replicas / 100
        return ceil(share) if up else int(share)
    return int(text) if text.isdigit() else None


def _limit(document: Document, release: Release) -> int | None:
    """GPUs of the release's pools that the pod's node selector fits; None where one is unlimited or none is there."""
    total = 0
    found = False
    for pool in release.of_kind("NodePool"):
        if not _fits(document, pool):
            continue
        value = pool.get("spec", "limits", GPU_RESOURCE)
        if value is None or not str(value).isdigit():
            return None
        found = True
        total += int(value)
    return total if found else None


def _fits(document: Document, pool: Document) -> bool:
    """Whether the labels that the pod selects are not other ones on the pool."""
    labels = pool.get("spec", "template", "metadata", "labels", default={})
    labels = {**labels, "karpenter.sh/nodepool": pool.name}
    for pod in document.pod_templates:
        selector = dig(pod.spec, "nodeSelector", default={})
        if any(key in labels and str(labels[key]) != str(value) for key, value in selector.items()):
            return False
    return True
