"""Which pods, workloads and autoscalers of a release belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.release import Document, PodTemplate, Release, dig, selector_matches
from chartproof.rules._pods import known_labels, labels_of

#: Kinds of third parties whose controllers make pods that no document of the release shows.
POD_MAKERS = frozenset(
    {
        "InferenceService",
        "LLMInferenceService",
        "ServingRuntime",
        "RayService",
        "RayCluster",
        "Rollout",
        "Application",
        "HelmRelease",
        "DynamoGraphDeployment",
        "StormService",
        "PodGroupSet",
        "PodCliqueSet",
        "ModelService",
        "VLLMRuntime",
        "Model",
        "NIMService",
        "DisaggregatedSet",
        "CloneSet",
    }
)
#: Kinds with a scale subresource that a release can render and chartproof can find.
SCALABLE = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"})
AUTOSCALERS = ("ScaledObject", "HorizontalPodAutoscaler")


@dataclass(frozen=True, slots=True)
class ReplicaRange:
    """Fewest and most replicas of a workload, and the document that says so."""

    fewest: int
    most: int
    source: Document


_HOOK = "helm.sh/hook"


def together(release: Release, one: Document, other: Document) -> bool:
    """Whether two namespaced documents land in one namespace.

    In plain manifests a missing namespace is decided when they are applied, so it fits any.
    """
    if not release.argv and (not one.namespace or not other.namespace):
        return True
    return release.namespace_of(one) == release.namespace_of(other)


def makes_hidden_pods(release: Release) -> bool:
    """Whether the release holds a kind whose pods cannot be seen in it."""
    return any(each.kind in POD_MAKERS for each in release.documents)


def pods_near(release: Release, document: Document) -> Iterator[tuple[Document, PodTemplate]]:
    """Every pod template in the namespace of `document`, but those of Helm's hooks, which are soon gone again."""
    for workload in release.workloads:
        if _HOOK not in workload.annotations and together(release, document, workload):
            for pod in workload.pod_templates:
                yield workload, pod


def matches(selector: Mapping[str, Any], workload: Document, pod: PodTemplate) -> bool:
    """Whether a plain label selector (of a Service) catches the pods of this template."""
    labels = labels_of(workload, pod)
    return all(labels.get(key) == str(value) for key, value in known_labels(selector).items())


def label_selector_matches(selector: Any, workload: Document, pod: PodTemplate) -> bool:
    """Whether a label selector (of a PDB, NetworkPolicy, workload) catches the pods of this template."""
    if not isinstance(selector, Mapping):
        return False
    plain = {**selector, "matchLabels": known_labels(selector.get("matchLabels") or {})}
    return selector_matches(plain, labels_of(workload, pod))


def caught_by_service(release: Release, service: Document) -> list[tuple[Document, PodTemplate]]:
    """Pod templates that a Service's selector catches; empty where it has none."""
    selector = service.get("spec", "selector", default={})
    if not isinstance(selector, Mapping) or not selector:
        return []
    return [(workload, pod) for workload, pod in pods_near(release, service) if matches(selector, workload, pod)]


def caught_by_label_selector(release: Release, document: Document, *path: str) -> list[tuple[Document, PodTemplate]]:
    """Pod templates that the label selector at `path` of a document catches."""
    selector = document.get(*path)
    return [
        (workload, pod)
        for workload, pod in pods_near(release, document)
        if label_selector_matches(selector, workload, pod)
    ]


def target_of(autoscaler: Document) -> tuple[str, str] | None:
    """Kind and name that a ScaledObject, HPA or VPA scales, or None where it names nothing."""
    path = ("spec", "targetRef") if autoscaler.kind == "VerticalPodAutoscaler" else ("spec", "scaleTargetRef")
    reference = autoscaler.get(*path, default={})
    name = dig(reference, "name")
    return (str(dig(reference, "kind", default="Deployment")), str(name)) if name else None


def autoscalers_of(release: Release, workload: Document) -> list[Document]:
    """ScaledObjects and HPAs that scale a workload."""
    return [
        each
        for each in release.of_kind(*AUTOSCALERS)
        if target_of(each) == (workload.kind, workload.name) and together(release, each, workload)
    ]


def replica_range(release: Release, workload: Document) -> ReplicaRange:
    """Fewest and most replicas: from the autoscaler where there is one, else the workload's own count."""
    for scaler in autoscalers_of(release, workload):
        if scaler.kind == "ScaledObject":
            # KEDA's defaults: 0 to 100.
            fewest = scaler.get("spec", "minReplicaCount", default=0)
            most = scaler.get("spec", "maxReplicaCount", default=100)
        else:
            fewest = scaler.get("spec", "minReplicas", default=1)
            most = scaler.get("spec", "maxReplicas", default=1)
        if isinstance(fewest, int) and isinstance(most, int):
            return ReplicaRange(fewest, most, scaler)
    own = workload.get("spec", "replicas", default=1)
    count = own if isinstance(own, int) else 1
    return ReplicaRange(count, count, workload)


def services_of(release: Release, workload: Document) -> list[Document]:
    """Services that catch at least one of the workload's pod templates."""
    return [
        service
        for service in release.of_kind("Service")
        if any(owner is workload for owner, _ in caught_by_service(release, service))
    ]
