"""LLM004."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, PodTemplate
from chartproof.rules._selection import caught_by_service, label_selector_matches, together
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

_OWNERS = ("Deployment", "StatefulSet", "ReplicaSet", "DaemonSet")


@rule(id="LLM004", name="overlapping-selectors", severity=Severity.ERROR, kinds=("Service", *_OWNERS))
def overlapping_selectors(document: Document, context: Context) -> Iterator[Finding]:
    """A selector also catches pods of another workload.

    What:
        Two workloads of one namespace whose selectors match each other's pods; or a Service in front of
        an engine that also catches pods which do not serve the same model: another model's engine, a
        router, a Job's pods, the workers of a group.

    Why it hurts:
        Controllers adopt and delete each other's pods, HPAs count foreign ones. A Service sends requests
        to pods that answer with another model, or with connection refused.

    Bad:
        Two Deployments, both with `app: vllm` as their only selector label.

    Good:
        Selectors that carry a label of their own, such as `app.kubernetes.io/instance`.

    References:
        https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#selector
        https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/
    """
    if document.kind == "Service":
        yield from _service(document, context)
        return
    selector = document.get("spec", "selector")
    if not selector:
        return
    for other in context.release.of_kind(*_OWNERS):
        if other is document or other.pod_template is None or not together(context.release, document, other):
            continue
        if (other.kind, other.name) == (document.kind, document.name):
            continue
        if label_selector_matches(selector, other, other.pod_template):
            yield context.finding(
                document,
                f"its selector also matches the pods of {other.identity}",
                path="spec.selector",
                hint="add a label that only this workload's pods have, to selector and template",
            )


def _service(service: Document, context: Context) -> Iterator[Finding]:
    caught = caught_by_service(context.release, service)
    computing = [(workload, pod) for workload, pod in caught if _only_computes(workload, pod)]
    # A headless one may be what the pods of a group find each other by.
    if computing and service.get("spec", "clusterIP") != "None":
        names = sorted({workload.identity for workload, _ in computing})
        yield context.finding(
            service,
            f"sends requests to the workers of {', '.join(names)}, which only compute and answer nobody",
            path="spec.selector",
            hint='select the leaders, by the label leaderworkerset.sigs.k8s.io/worker-index: "0"',
        )
    caught = [each for each in caught if each not in computing]
    models = {_model(workload, pod) for workload, pod in caught}
    if not any(models) or len(models) == 1:
        return
    names = sorted({f"{workload.identity} ({_model(workload, pod) or 'no engine'})" for workload, pod in caught})
    yield context.finding(
        service,
        f"sends requests to pods that do not serve the same model: {', '.join(names)}",
        path="spec.selector",
        hint="add a label that only the pods of one model have",
    )


def _only_computes(workload: Document, pod: PodTemplate) -> bool:
    """Whether a template's engine is a worker of a group."""
    return any(each.pod.path == pod.path and each.is_worker for each in engine_containers(workload))


def _model(workload: Document, pod: PodTemplate) -> str:
    """The served model of a template; empty where it runs no engine."""
    for engine in engine_containers(workload):
        if engine.pod.path == pod.path:
            return engine.served_model_name or engine.engine
    return ""
