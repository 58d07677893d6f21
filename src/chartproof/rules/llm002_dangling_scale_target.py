"""LLM002."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._selection import SCALABLE, makes_hidden_pods, pods_near, target_of, together
from chartproof.rules.registry import Context, rule


@rule(
    id="LLM002",
    name="dangling-scale-target",
    severity=Severity.ERROR,
    kinds=("ScaledObject", "HorizontalPodAutoscaler", "VerticalPodAutoscaler"),
)
def dangling_scale_target(document: Document, context: Context) -> Iterator[Finding]:
    """An autoscaler names a workload that the release does not have.

    What:
        `scaleTargetRef` of a ScaledObject or HorizontalPodAutoscaler (or `targetRef` of a
        VerticalPodAutoscaler) names a kind and name that no document of the release defines.

    Why it hurts:
        The autoscaler reports an error and nothing ever scales; the workload keeps the replicas it was
        installed with, under any load.

    Bad:
        `scaleTargetRef: {name: vllm}` beside a Deployment named `vllm-server`.

    Good:
        `scaleTargetRef: {kind: Deployment, name: vllm-server}`.

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scaletargetref
        https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/
    """
    field = "spec.targetRef" if document.kind == "VerticalPodAutoscaler" else "spec.scaleTargetRef"
    target = target_of(document)
    if target is None:
        yield context.finding(document, f"{field}.name is missing", path=field, hint="name the workload to scale")
        return
    kind, name = target
    release = context.release
    if kind not in SCALABLE or makes_hidden_pods(release) or not any(pods_near(release, document)):
        return
    if any(each.name == name and together(release, document, each) for each in release.of_kind(kind)):
        return
    known = [f"{each.kind} {each.name}" for each in release.of_kind(*SCALABLE) if together(release, document, each)]
    yield context.finding(
        document,
        f"scales {kind} {name!r}, which this release does not have in that namespace",
        path=f"{field}.name",
        hint=f"name one of: {', '.join(known) or 'no scalable workload is rendered'}",
    )
