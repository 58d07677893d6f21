"""LLM005."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import AUTOSCALERS, target_of, together
from chartproof.rules.registry import Context, rule


@rule(id="LLM005", name="several-autoscalers-on-one-target", severity=Severity.ERROR, kinds=AUTOSCALERS)
def several_autoscalers_on_one_target(document: Document, context: Context) -> Iterator[Finding]:
    """Two autoscalers scale the same workload.

    What:
        More than one ScaledObject or HorizontalPodAutoscaler has the same scale target. KEDA makes an
        HPA of its own for every ScaledObject.

    Why it hurts:
        Each sets its own replica count in turn: GPUs start and stop without end. KEDA's admission
        webhook refuses the second one, where it is installed.

    Bad:
        A ScaledObject for Deployment `vllm` and a HorizontalPodAutoscaler for it.

    Good:
        One ScaledObject with several triggers.

    References:
        https://keda.sh/docs/latest/concepts/scaling-deployments/
        https://keda.sh/docs/latest/concepts/admission-webhooks/
    """
    target = target_of(document)
    if target is None:
        return
    for other in context.release.of_kind(*AUTOSCALERS):
        same = target_of(other) == target and together(context.release, document, other)
        if same and other is not document and other.identity != document.identity:
            yield context.finding(
                document,
                f"{target[0]} {target[1]} is also scaled by {other.identity}",
                path="spec.scaleTargetRef",
                hint="keep one: put all signals into the triggers of a single ScaledObject",
            )
