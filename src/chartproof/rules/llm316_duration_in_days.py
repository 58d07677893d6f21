"""LLM316."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.duration import DurationError, go_seconds, karpenter_budget_seconds, karpenter_seconds
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import DO_NOT_DISRUPT

_PLACES = (
    (("spec", "disruption", "consolidateAfter"), karpenter_seconds),
    (("spec", "template", "spec", "expireAfter"), karpenter_seconds),
    (("spec", "template", "spec", "terminationGracePeriod"), karpenter_seconds),
)


@rule(
    id="LLM316",
    name="duration-in-days",
    severity=Severity.ERROR,
    kinds=("NodePool", "NodeClaim", "Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def duration_in_days(document: Document, context: Context) -> Iterator[Finding]:
    """A Karpenter duration that Karpenter cannot read.

    What:
        `consolidateAfter`, `expireAfter`, `terminationGracePeriod`, a budget's `duration` or the value of the
        annotation `karpenter.sh/do-not-disrupt` is written in days or in another form than whole hours, minutes
        and seconds (budgets: hours and minutes).

    Why it hurts:
        The API server refuses the NodePool; of the annotation only an event tells that it is ignored, and the
        pod is moved while it loads.

    Bad:
        `expireAfter: 30d`

    Good:
        `expireAfter: 720h`

    References:
        https://karpenter.sh/docs/concepts/disruption/
    """
    if document.kind in {"NodePool", "NodeClaim"}:
        for path, read in _PLACES:
            value = document.get(*path)
            if value is not None:
                yield from _judge(document, context, str(value), ".".join(path), read)
        for i, budget in enumerate(document.get("spec", "disruption", "budgets", default=[]) or []):
            value = dig(budget, "duration")
            if value is not None:
                path_text = f"spec.disruption.budgets[{i}].duration"
                yield from _judge(document, context, str(value), path_text, karpenter_budget_seconds)
        return
    for pod in document.pod_templates:
        value = pod.annotations.get(DO_NOT_DISRUPT)
        if value is not None and str(value).lower() not in {"true", "false"}:
            path_text = pod.path_of("metadata", "annotations", DO_NOT_DISRUPT)
            yield from _judge(document, context, str(value), path_text, go_seconds)


def _judge(
    document: Document, context: Context, value: str, path: str, read: Callable[[str], float]
) -> Iterator[Finding]:
    try:
        read(value)
    except DurationError as problem:
        yield context.finding(document, str(problem), path=path, hint="write hours and minutes, such as 720h or 30m")
