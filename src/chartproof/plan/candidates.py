"""Which instance types a pod may land on, as far as the release says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chartproof.catalog import Catalog, Instance
from chartproof.release import PodTemplate, Release, dig

#: GPU Feature Discovery's product label, as nodes outside EKS carry it.
_PRODUCT_LABEL = "nvidia.com/gpu.product"
_NUMERIC = {
    "Gt": lambda have, want: have > want,
    "Lt": lambda have, want: have < want,
    "Gte": lambda have, want: have >= want,
    "Lte": lambda have, want: have <= want,
}


def candidate_instances(pod: PodTemplate, release: Release, catalog: Catalog, *, gpus: int) -> tuple[Instance, ...]:
    """Catalog instances with enough GPUs that pod and pools allow, cheapest first.

    The pod's node selector and required affinity count and, where the release has NodePools, at
    least one pool must allow the type. Empty where nothing constrains the choice (every GPU type
    would be a guess) or where nothing matches.
    """
    constraints = _pod_requirements(pod)
    pools = [
        _with_labels(dig(each.body, "spec", "template", "spec", "requirements", default=[]))
        for each in release.of_kind("NodePool")
    ]
    if not pools and not any(_speaks_of_instances(each) for alternative in constraints for each in alternative):
        return ()
    found = [
        instance
        for instance in catalog.gpu_instances()
        if instance.gpu_count >= gpus
        and any(_allows(alternative, _labels(instance, catalog)) for alternative in constraints)
        and (not pools or any(_allows(pool, _labels(instance, catalog)) for pool in pools))
    ]
    return tuple(sorted(found, key=lambda each: (each.usd_per_hour or float("inf"), each.name)))


def _labels(instance: Instance, catalog: Catalog) -> Mapping[str, str]:
    product = catalog.gpus[instance.gpu].product.replace(" ", "-") if instance.gpu in catalog.gpus else ""
    return {**instance.labels, _PRODUCT_LABEL: product}


def _pod_requirements(pod: PodTemplate) -> list[list[Mapping[str, Any]]]:
    """Alternatives (OR) of requirements (AND), each {key, operator, values}."""
    selected = [
        {"key": key, "operator": "In", "values": [value]} for key, value in (pod.spec.get("nodeSelector") or {}).items()
    ]
    terms = dig(
        pod.spec,
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
        default=[],
    )
    return [[*selected, *(term.get("matchExpressions") or [])] for term in terms] or [selected]


def _with_labels(requirements: Iterable[Any]) -> list[Mapping[str, Any]]:
    return [each for each in requirements if isinstance(each, Mapping)]


def _speaks_of_instances(requirement: Mapping[str, Any]) -> bool:
    key = str(requirement.get("key"))
    return key in {"node.kubernetes.io/instance-type", _PRODUCT_LABEL} or key.startswith("karpenter.k8s.aws/instance-")


def _allows(requirements: Iterable[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    """Whether the requirements that speak of instances hold; others (zone, pool, capacity) are not the type's."""
    return all(_holds(each, labels) for each in requirements if _speaks_of_instances(each))


def _holds(requirement: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = str(requirement.get("key")), str(requirement.get("operator"))
    values = [str(each) for each in requirement.get("values") or []]
    have = labels.get(key)
    if operator in _NUMERIC:
        try:
            return have is not None and _NUMERIC[operator](int(have), int(values[0]))
        except (ValueError, IndexError):
            return False
    return {
        "In": have in values,
        "NotIn": have not in values,
        "Exists": have is not None,
        "DoesNotExist": have is None,
    }.get(str(operator), False)
