"""LLM340."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.duration import DurationError, karpenter_seconds
from chartproof.pool import is_gpu_pool, pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import do_not_disrupt, gpu_pods, mismatches

#: Shorter than the cold start of a 7B model on a fresh node (about 2.5 to 6 minutes).
_SHORTEST_SECONDS = 300


@rule(id="LLM340", name="consolidation-moves-loading-pods", severity=Severity.WARNING, kinds=("NodePool",))
def consolidation_moves_loading_pods(document: Document, context: Context) -> Iterator[Finding]:
    """Consolidation may move pods that are still loading their model.

    What:
        A GPU pool consolidates underutilized nodes (the default policy) after less than five minutes, and not
        all GPU pods of the release that fit it are protected by `karpenter.sh/do-not-disrupt`.

    Why it hurts:
        A node with one loading pod looks underutilized. The pod is moved to another node and starts from
        nothing, possibly again and again; users saw nodes replaced 20 seconds after they came.

    Bad:
        `consolidationPolicy: WhenEmptyOrUnderutilized` with `consolidateAfter: 1m`

    Good:
        `consolidationPolicy: WhenEmpty` with `consolidateAfter: 10m`, or a do-not-disrupt of "30m" on the pods

    References:
        https://karpenter.sh/docs/concepts/disruption/#consolidation
        https://github.com/aws/karpenter-provider-aws/issues/7356
    """
    pool = pool_of(document, context.release)
    if pool.consolidation_policy == "WhenEmpty" or pool.static or not is_gpu_pool(pool):
        return
    written = str(pool.disruption.get("consolidateAfter") or "0s")
    try:
        seconds = karpenter_seconds(written)
    except DurationError:
        return
    landing = [each for each in gpu_pods(context.release) if not mismatches(each, pool)]
    if seconds >= _SHORTEST_SECONDS or (landing and all(do_not_disrupt(each.pod) for each in landing)):
        return
    yield context.finding(
        document,
        f"{pool.consolidation_policy} after {written} moves pods while they load their model",
        path="spec.disruption",
        hint="write consolidationPolicy: WhenEmpty and consolidateAfter: 10m",
    )
