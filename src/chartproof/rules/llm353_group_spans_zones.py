"""LLM353."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, PodTemplate, dig
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, pod_requirements

_NEAR = re.compile(r"zone|rack|block|placement|hostname|network-node|capacity-reservation")
_EXCLUSIVE = re.compile(r"^leaderworkerset\.sigs\.k8s\.io/(sub-?group-)?exclusive-topology$")


@rule(id="LLM353", name="group-spans-zones", severity=Severity.ERROR, kinds=("LeaderWorkerSet",))
def group_spans_zones(document: Document, context: Context) -> Iterator[Finding]:
    """The pods of one multi-node group can land in different zones.

    What:
        A LeaderWorkerSet of several GPU pods has neither an exclusive-topology annotation, nor affinity among
        its pods, nor a single zone, and the pools of the release that it fits allow several zones.

    Why it hurts:
        Every token crosses the network between the pods of a group. Between zones it takes ten times as long
        and is billed per gigabyte; EFA does not work across zones at all.

    Bad:
        `size: 2` with a pool over three zones

    Good:
        annotation `leaderworkerset.sigs.k8s.io/exclusive-topology: topology.kubernetes.io/zone`

    References:
        https://lws.sigs.k8s.io/docs/concepts/#exclusive-placement
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa.html
    """
    size = document.get("spec", "leaderWorkerTemplate", "size", default=1)
    if not isinstance(size, int) or size < 2:  # noqa: PLR2004 - a group of several pods
        return
    if any(_EXCLUSIVE.match(key) and _NEAR.search(str(value)) for key, value in document.annotations.items()):
        return
    for subject in gpu_pods_in(document):
        pools = subject.placed_on(context.release)
        loose = [pool for pool in pools if pool.zones is None or len(pool.zones) > 1]
        if not loose or _kept_together(subject.pod):
            continue
        yield context.finding(
            document,
            f"the {size} pods of a group may land in different zones of NodePool {loose[0].name!r}",
            path="metadata.annotations",
            hint="annotate leaderworkerset.sigs.k8s.io/exclusive-topology: topology.kubernetes.io/zone",
        )
        return


def _kept_together(pod: PodTemplate) -> bool:
    if all(
        any("zone" in key and requirement.only for key, requirement in alternative.items())
        for alternative in pod_requirements(pod)
    ):
        return True
    terms = dig(pod.spec, "affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution", default=[])
    return any(_NEAR.search(str(dig(term, "topologyKey", default=""))) for term in terms or [])
