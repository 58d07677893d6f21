"""LLM306."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.pool import ZONE
from chartproof.release import Document, dig, selector_matches
from chartproof.rules._selection import replica_range
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, pod_requirements

_ZONES = frozenset({ZONE, "failure-domain.beta.kubernetes.io/zone", "topology.k8s.aws/zone-id"})


@rule(
    id="LLM306", name="affinity-pins-zone", severity=Severity.ERROR, kinds=("Deployment", "StatefulSet", "ReplicaSet")
)
def affinity_pins_zone(document: Document, context: Context) -> Iterator[Finding]:
    """Required affinity puts all replicas of a model into one zone.

    What:
        A GPU workload of several replicas requires affinity to its own pods by zone, or is bound to a single
        zone although it asks to be spread over zones. An error where a required spread over zones contradicts
        the affinity, else a warning.

    Why it hurts:
        One zone running out of GPUs (the usual case for these instance types) or failing takes all replicas
        with it. Where the spread is required too, the second replica can never be placed.

    Bad:
        `podAffinity` on the pods' own labels with `topologyKey: topology.kubernetes.io/zone`

    Good:
        `topologySpreadConstraints` with `whenUnsatisfiable: ScheduleAnyway`, and no affinity by zone

    References:
        https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
    """
    for subject in gpu_pods_in(document):
        if replica_range(context.release, document).most < 2:  # noqa: PLR2004 - two are several
            continue
        spread = [
            each
            for each in subject.pod.spec.get("topologySpreadConstraints") or []
            if dig(each, "topologyKey") in _ZONES
        ]
        required = any(dig(each, "whenUnsatisfiable", default="DoNotSchedule") == "DoNotSchedule" for each in spread)
        terms = dig(
            subject.pod.spec, "affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution", default=[]
        )
        for i, term in enumerate(terms or []):
            own = selector_matches(dig(term, "labelSelector"), subject.pod.labels)
            if dig(term, "topologyKey") in _ZONES and own:
                found = context.finding(
                    document,
                    "all replicas must be in one zone, but a required spread wants them apart: the second stays Pending"
                    if required
                    else "all replicas must be in the zone of the first",
                    path=subject.path(
                        "affinity", "podAffinity", f"requiredDuringSchedulingIgnoredDuringExecution[{i}]"
                    ),
                    hint="drop the affinity by zone, or make it preferred",
                )
                yield found if required else replace(found, severity=Severity.WARNING)
        pinned = [
            value
            for alternative in pod_requirements(subject.pod)
            for key, requirement in alternative.items()
            if key in _ZONES and (value := requirement.only)
        ]
        if pinned and spread and len(pod_requirements(subject.pod)) == 1:
            found = context.finding(
                document,
                f"is bound to zone {pinned[0]}, so its spread over zones does nothing",
                path=subject.path("nodeSelector" if subject.pod.spec.get("nodeSelector") else "affinity"),
                hint="allow several zones, or drop the spread",
            )
            yield replace(found, severity=Severity.WARNING)
