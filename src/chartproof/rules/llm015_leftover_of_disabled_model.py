"""LLM015."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import makes_hidden_pods, pods_near
from chartproof.rules.registry import Context, rule

_SATELLITES = (
    "ScaledObject",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "Service",
    "ServiceMonitor",
    "PodMonitor",
    "NetworkPolicy",
)


@rule(
    id="LLM015",
    name="leftover-of-disabled-model",
    severity=Severity.ERROR,
    kinds=("ScaledObject", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service"),
)
def leftover_of_disabled_model(document: Document, context: Context) -> Iterator[Finding]:
    """An autoscaler, budget or Service is left of a model whose workload is gone.

    What:
        The release holds a ScaledObject, HorizontalPodAutoscaler, PodDisruptionBudget or (in a Helm
        release) a Service with a selector, and nothing that makes pods in that namespace. In plain
        manifests, only where they hold several kinds of such objects.

    Why it hurts:
        A template forgot to ask whether the model is enabled. The autoscaler reports errors for ever,
        and takes over whatever is next deployed under that name.

    Bad:
        `engine.enabled: false`, and the ScaledObject is rendered all the same.

    Good:
        All objects of a model under one condition.

    References:
        https://helm.sh/docs/chart_template_guide/control_structures/
    """
    if makes_hidden_pods(context.release) or any(pods_near(context.release, document)):
        return
    if document.kind == "Service" and not (context.release.argv and document.get("spec", "selector")):
        return
    # A file that holds nothing but an autoscaler may be one part of a deployment.
    if not context.release.argv and len({each.kind for each in context.release.of_kind(*_SATELLITES)}) == 1:
        return
    yield context.finding(
        document,
        "belongs to a workload, but the release has none in that namespace",
        hint="render it under the same condition as the workload",
    )
