"""LLM356."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from chartproof.findings import Finding, Severity
from chartproof.pool import CAPACITY_TYPE, NODE_POOL
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in

#: Labels whose values form a closed set. Source: Karpenter's WellKnownValuesForRequirements, Go's GOARCH and GOOS.
_CLOSED = {
    CAPACITY_TYPE: frozenset({"spot", "on-demand", "reserved"}),
    "kubernetes.io/arch": frozenset({"amd64", "arm64"}),
    "kubernetes.io/os": frozenset({"linux", "windows"}),
}
#: Keys that a NodePool must not use: Karpenter sets them.
_RESERVED = frozenset({NODE_POOL, "kubernetes.io/hostname"})
_BOUNDS = frozenset({"Gt", "Lt", "Gte", "Lte"})
_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"}) | _BOUNDS


@rule(
    id="LLM356",
    name="impossible-requirement-value",
    severity=Severity.ERROR,
    kinds=("NodePool", "Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet", "Job"),
)
def impossible_requirement_value(document: Document, context: Context) -> Iterator[Finding]:
    """A node requirement that can never be satisfied, or that the API server refuses.

    What:
        A requirement compares with something else than one whole number (`Gt "100Gi"`), uses `In` without
        values, names a capacity type, architecture or operating system that does not exist (`Spot`, `x86_64`),
        or a NodePool requires a label that Karpenter sets itself (`karpenter.sh/nodepool`).

    Why it hurts:
        Validation rules of the NodePool refuse it when it is applied, which no schema shows; on a pod it is
        accepted and matches no node.

    Bad:
        `{key: karpenter.k8s.aws/instance-local-nvme, operator: Gt, values: ["100Gi"]}`

    Good:
        `{key: karpenter.k8s.aws/instance-local-nvme, operator: Gt, values: ["100"]}`

    References:
        https://karpenter.sh/docs/concepts/scheduling/#labels
        https://karpenter.sh/docs/concepts/nodepools/#spectemplatespecrequirements
    """
    if document.kind == "NodePool":
        base = "spec.template.spec.requirements"
        for i, each in enumerate(document.get("spec", "template", "spec", "requirements", default=[]) or []):
            problem = _problem(each, pool=True)
            if problem:
                yield context.finding(document, problem[0], path=f"{base}[{i}]", hint=problem[1])
        return
    for subject in gpu_pods_in(document):
        selector = subject.pod.spec.get("nodeSelector") or {}
        written = [
            ({"key": key, "operator": "In", "values": [value]}, "nodeSelector") for key, value in selector.items()
        ]
        for term in dig(
            subject.pod.spec,
            "affinity",
            "nodeAffinity",
            "requiredDuringSchedulingIgnoredDuringExecution",
            "nodeSelectorTerms",
            default=[],
        ):
            written += [(each, "affinity") for each in term.get("matchExpressions") or []]
        for each, place in written:
            problem = _problem(each, pool=False)
            if problem:
                yield context.finding(document, problem[0], path=subject.path(place), hint=problem[1])


def _problem(requirement: Mapping[str, object], *, pool: bool) -> tuple[str, str] | None:
    """What is wrong with one requirement, and what to write."""
    key, operator = str(requirement.get("key") or ""), str(requirement.get("operator") or "")
    found = requirement.get("values")
    values = [str(each) for each in found] if isinstance(found, list) else []
    if pool and key in _RESERVED:
        return f"{key} is set by Karpenter and refused in requirements", "remove it"
    if operator not in _OPERATORS:
        return f"operator {operator!r} of {key} does not exist", "write In, NotIn, Exists, DoesNotExist, Gt or Lt"
    if operator in _BOUNDS and not (len(values) == 1 and values[0].isdigit()):
        return (
            f"{key} {operator} {', '.join(values) or 'nothing'} is no comparison with one whole number",
            "write digits",
        )
    if operator == "In" and not values:
        return f"{key} In has no values", "name the values"
    unknown = [value for value in values if value not in _CLOSED.get(key, values)]
    if unknown and operator in {"In", "NotIn"}:
        return f"{key} is never {unknown[0]}", f"known are: {', '.join(sorted(_CLOSED[key]))}"
    return None
