"""Documents whose well-known fields have the type that Kubernetes gives them.

Manifests of any origin may hold anything: a string for a list, a null among containers. The schema
engines report that. Rules read the same documents afterwards and would trip over it, each at another
place; here it is set right once: a field of the wrong type becomes an empty one of the right type, a
list keeps its length so that paths stay true. A well-formed release is returned as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chartproof.release import Body, Release


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Fields that are mappings wherever they occur in the kinds that rules read.
MAPPINGS = _names(
    """
    metadata labels annotations spec template data stringData binaryData
    selector matchLabels nodeSelector podSelector namespaceSelector labelSelector securityContext
    resources limits requests lifecycle preStop postStart
    httpGet tcpSocket exec grpc startupProbe readinessProbe livenessProbe
    affinity nodeAffinity podAffinity podAntiAffinity requiredDuringSchedulingIgnoredDuringExecution
    emptyDir configMap secret persistentVolumeClaim hostPath projected csi ephemeral valueFrom
    strategy rollingUpdate scaleTargetRef targetRef authenticationRef fallback advanced scalingModifiers
    horizontalPodAutoscalerConfig scaleUp scaleDown leaderWorkerTemplate leaderTemplate workerTemplate
    nodeClassRef disruption ebs kubelet roleRef capabilities
    """
)
#: Fields that are lists of mappings.
LISTS_OF_MAPPINGS = _names(
    """
    containers initContainers volumes volumeMounts env envFrom ports tolerations taints
    topologySpreadConstraints matchExpressions nodeSelectorTerms requirements triggers rules paths parentRefs
    backendRefs httpHeaders ingress egress subjects items volumeClaimTemplates policies budgets imagePullSecrets
    amiSelectorTerms subnetSelectorTerms securityGroupSelectorTerms blockDeviceMappings endpoints
    podMetricsEndpoints
    """
)
#: Fields that are lists of words or numbers.
LISTS = _names(
    """
    command args values accessModes policyTypes matchLabelKeys matchNames verbs add drop
    """
)
#: Fields that are words or numbers.
SCALARS = _names(
    """
    name port key operator kind apiVersion mountPath containerPort targetPort claimName secretName serviceAccountName
    alias effect medium sizeLimit type schedule query metricType
    """
)
#: Mappings whose names mean a list somewhere else, such as the `resources` of a Role and the terms of a pod affinity.
_LISTS_ELSEWHERE = frozenset({"resources", "template", "data", "requiredDuringSchedulingIgnoredDuringExecution"})
#: Lists whose names mean a mapping somewhere else.
_MAPPINGS_ELSEWHERE = frozenset({"rules", "items"})


def well_shaped(release: Release) -> Release:
    """The release with fields of the wrong type emptied; itself where there are none."""
    documents = []
    for document in release.documents:
        body = _mapping(document.body)
        documents.append(document if body is document.body else replace(document, body=body))
    if all(new is old for new, old in zip(documents, release.documents, strict=True)):
        return release
    return replace(release, documents=tuple(documents))


def _mapping(body: Body) -> Body:
    changed = {key: new for key, value in body.items() if (new := _field(str(key), value)) is not value}
    return {**body, **changed} if changed else body


def _field(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in MAPPINGS:
        good = isinstance(value, Mapping) or (isinstance(value, list) and name in _LISTS_ELSEWHERE)
        return _any(value) if good else {}
    if name in LISTS_OF_MAPPINGS and not (isinstance(value, Mapping) and name in _MAPPINGS_ELSEWHERE):
        return _list(value, lambda each: each if isinstance(each, Mapping) else {})
    if name in LISTS and not isinstance(value, Mapping):
        return _list(value, lambda each: "" if isinstance(each, list | Mapping) else each)
    if isinstance(value, list if name == "port" else list | Mapping) and name in SCALARS:
        return ""
    return _any(value)


def _list(value: Any, element: Callable[[Any], Any]) -> list[Any]:
    return _elements([element(each) for each in value], value) if isinstance(value, list) else []


def _any(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list):
        return _elements(value, value)
    return value


def _elements(elements: Sequence[Any], original: list[Any]) -> list[Any]:
    made = [_any(each) for each in elements]
    same = len(made) == len(original) and all(new is old for new, old in zip(made, original, strict=True))
    return original if same else made
