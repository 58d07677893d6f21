"""LLM010."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release, selector_matches
from chartproof.rules._selection import target_of
from chartproof.rules.registry import Context, rule
from chartproof.workload import engines_of

#: Kinds that only work beside the pods they belong to.
_BESIDE_PODS = (
    "Service",
    "ScaledObject",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "ServiceAccount",
    "TriggerAuthentication",
)
_WORKLOADS = ("Deployment", "StatefulSet", "LeaderWorkerSet", "Job", "CronJob")


@rule(id="LLM010", name="foreign-namespace", severity=Severity.ERROR, kinds=(*_BESIDE_PODS, *_WORKLOADS))
def foreign_namespace(document: Document, context: Context) -> Iterator[Finding]:
    """A namespaced object is sent to another namespace than the pods it belongs to.

    What:
        In a Helm release: a workload, Service, autoscaler, budget, policy, claim, ServiceAccount or
        TriggerAuthentication with a namespace other than the release's. In plain manifests: such an
        object that would select or scale the engine's pods, written into another namespace than theirs.
        Objects that live elsewhere on purpose (roles, monitors, rules, dashboards) are not meant.

    Why it hurts:
        Selectors, claims and scale targets never cross namespaces: the object is installed and has no
        effect. `helm uninstall` and quotas miss it too.

    Bad:
        `namespace: default` in the ScaledObject of a release installed into `llm`.

    Good:
        No namespace, or `{{ .Release.Namespace }}`.

    References:
        https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/
        https://helm.sh/docs/chart_best_practices/
    """
    if not document.namespace:
        return
    expected = _expected(context.release)
    if expected is None or document.namespace == expected:
        return
    if context.release.argv or _belongs(document, context.release, expected):
        yield context.finding(
            document,
            f"is in namespace {document.namespace!r}, the pods it belongs to are in {expected!r}",
            path="metadata.namespace",
            hint=f"write {expected}, or leave the namespace out",
        )


def _expected(release: Release) -> str | None:
    """The namespace of a Helm release; of plain manifests, the one that all engines are written into."""
    if release.argv:
        return release.namespace
    written = {each.document.namespace for each in engines_of(release)}
    return written.pop() if len(written) == 1 and "" not in written else None


def _belongs(document: Document, release: Release, namespace: str) -> bool:
    """Whether an object of plain manifests would select or scale engine pods of `namespace`."""
    engines = [each for each in engines_of(release) if each.document.namespace == namespace]
    if document.kind in {"ScaledObject", "HorizontalPodAutoscaler"}:
        return target_of(document) in {(each.document.kind, each.document.name) for each in engines}
    if document.kind == "Service":
        selector = document.get("spec", "selector", default={})
        return bool(selector) and any(selector_matches({"matchLabels": selector}, each.pod.labels) for each in engines)
    if document.kind == "PodDisruptionBudget":
        selector = document.get("spec", "selector", default={})
        return bool(selector) and any(selector_matches(selector, each.pod.labels) for each in engines)
    if document.kind == "PersistentVolumeClaim":
        claims = {
            (volume.get("persistentVolumeClaim") or {}).get("claimName")
            for each in engines
            for volume in each.pod.spec.get("volumes") or []
        }
        return document.name in claims
    if document.kind == "ServiceAccount":
        return document.name in {each.pod.spec.get("serviceAccountName") for each in engines}
    return False
