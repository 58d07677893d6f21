"""LLM001."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, PodTemplate, dig
from chartproof.rules._selection import (
    caught_by_label_selector,
    caught_by_service,
    label_selector_matches,
    makes_hidden_pods,
    pods_near,
)
from chartproof.rules.registry import Context, rule

_OWN_SELECTOR = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")


@rule(
    id="LLM001",
    name="dangling-selector",
    severity=Severity.ERROR,
    kinds=("Service", "PodDisruptionBudget", "NetworkPolicy", *_OWN_SELECTOR),
)
def dangling_selector(document: Document, context: Context) -> Iterator[Finding]:
    """A selector catches no pod of the release.

    What:
        The selector of a Service, PodDisruptionBudget or NetworkPolicy, a workload's own selector, or
        the label selector of its topology spread matches no pod template in the same namespace.

    Why it hurts:
        The API server accepts it. A Service without endpoints refuses every request, a budget protects
        nothing, a policy leaves the pods open, and a spread that does not count its own pods spreads
        nothing.

    Bad:
        Service selector `app: vllm`, pod label `app: vllm-server`.

    Good:
        The selector repeats labels of the pod template, key and value.

    References:
        https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
        https://kubernetes.io/docs/concepts/services-networking/service/
    """
    if document.kind in _OWN_SELECTOR:
        yield from _own(document, context)
        return
    if makes_hidden_pods(context.release) or not any(pods_near(context.release, document)):
        return
    if document.kind == "Service":
        selector = document.get("spec", "selector", default={})
        if not selector or document.get("spec", "type") == "ExternalName":
            return
        if not caught_by_service(context.release, document):
            yield _finding(document, context, "spec.selector", selector)
        return
    field = "podSelector" if document.kind == "NetworkPolicy" else "selector"
    selector = document.get("spec", field, default={})
    named = bool(dig(selector, "matchLabels") or dig(selector, "matchExpressions"))
    if named and not caught_by_label_selector(context.release, document, "spec", field):
        wanted = dig(selector, "matchLabels") or "matchExpressions"
        yield _finding(document, context, f"spec.{field}", wanted)


def _finding(document: Document, context: Context, path: str, wanted: object) -> Finding:
    labels = sorted(
        {f"{key}={value}" for _, pod in pods_near(context.release, document) for key, value in pod.labels.items()}
    )
    return context.finding(
        document,
        f"selector {_text(wanted)} matches no pod of this release",
        path=path,
        hint=f"use labels of the pod template; the pods here have {', '.join(labels[:6]) or 'no labels'}",
    )


def _own(document: Document, context: Context) -> Iterator[Finding]:
    pod = document.pod_template
    if pod is None:
        return
    selector = document.get("spec", "selector")
    if selector and not label_selector_matches(selector, document, pod):
        yield context.finding(
            document,
            f"spec.selector {_text(dig(selector, 'matchLabels'))} does not match the labels of its own pod template",
            path="spec.selector",
            hint="give the template every label of the selector",
        )
    yield from _spread(document, pod, context)


def _spread(document: Document, pod: PodTemplate, context: Context) -> Iterator[Finding]:
    for i, constraint in enumerate(pod.spec.get("topologySpreadConstraints") or []):
        selector = dig(constraint, "labelSelector")
        if selector and not label_selector_matches(selector, document, pod):
            yield context.finding(
                document,
                f"topology spread {_text(dig(selector, 'matchLabels'))} does not count the pods it is to spread",
                path=pod.path_of("spec", f"topologySpreadConstraints[{i}]", "labelSelector"),
                hint="use the labels of this pod template",
            )


def _text(labels: object) -> str:
    if isinstance(labels, dict):
        return ", ".join(f"{key}={value}" for key, value in labels.items())
    return str(labels)
