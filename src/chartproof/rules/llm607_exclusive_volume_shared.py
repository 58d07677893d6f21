"""LLM607."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._pods import volumes
from chartproof.rules._selection import replica_range, together
from chartproof.rules.registry import Context, rule

_SHARED = frozenset({"ReadWriteMany", "ReadOnlyMany"})


@rule(
    id="LLM607",
    name="exclusive-volume-shared",
    severity=Severity.ERROR,
    kinds=("Deployment", "ReplicaSet", "StatefulSet", "LeaderWorkerSet"),
)
def exclusive_volume_shared(document: Document, context: Context) -> Iterator[Finding]:
    """Several replicas mount a volume that only one node can have.

    What:
        A workload with more than one replica (its autoscaler's maximum counts) mounts a claim of the release
        whose access modes are only ReadWriteOnce or ReadWriteOncePod.

    Why it hurts:
        The volume attaches to one node. Replicas on other nodes hang in ContainerCreating with a multi-attach
        error, so the model cannot scale beyond one node.

    Bad:
        `accessModes: [ReadWriteOnce]` and `maxReplicaCount: 5`

    Good:
        `accessModes: [ReadWriteMany]` on EFS or FSx, or weights on each node's own disk

    References:
        https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes
    """
    replicas = replica_range(context.release, document)
    if document.kind == "LeaderWorkerSet":
        size = document.get("spec", "leaderWorkerTemplate", "size", default=1)
        most = replicas.most * (size if isinstance(size, int) else 1)
    else:
        most = replicas.most
    if most < 2:  # noqa: PLR2004 - two replicas share
        return
    for pod in document.pod_templates:
        for name, volume in volumes(pod).items():
            claim = context.release.find(
                "PersistentVolumeClaim", str(dig(volume, "persistentVolumeClaim", "claimName", default=""))
            )
            if claim is None or not together(context.release, document, claim):
                continue
            modes = claim.get("spec", "accessModes", default=[]) or []
            if modes and not _SHARED & set(modes):
                yield context.finding(
                    document,
                    f"up to {most} pods mount claim {claim.name!r}, which is {' and '.join(map(str, modes))}",
                    path=pod.path_of("spec", f"volumes[{list(volumes(pod)).index(name)}]"),
                    hint="use a ReadWriteMany class (EFS, FSx), or give each replica its own copy",
                )
