"""LLM608."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import bytes_of, format_bytes
from chartproof.release import Document, dig
from chartproof.rules._weights import claim_spec, on_efs, weights_bytes, weights_mount
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM608",
    name="claim-too-small",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def claim_too_small(document: Document, context: Context) -> Iterator[Finding]:
    """The claim that holds the weights is smaller than the weights.

    What:
        The PersistentVolumeClaim (or claim template) under an engine's model path asks for less storage than
        the weights take, by the catalog or the annotation chartproof.io/weights-gigabytes. A warning on EFS,
        which does not enforce the figure: another class or a quota would.

    Why it hurts:
        The download into it ends with "no space left on device".

    Bad:
        `storage: 10Gi` for 14.5 GB of weights

    Good:
        `storage: 32Gi`, so that two revisions fit

    References:
        https://kubernetes.io/docs/concepts/storage/persistent-volumes/
    """
    for engine in engine_containers(document):
        weights = weights_bytes(engine, context.release)
        mount = weights_mount(engine)
        if weights is None or mount is None or "ephemeral" in mount.volume:
            continue
        spec = claim_spec(mount, document, context.release)
        size = bytes_of(dig(spec, "resources", "requests", "storage"))
        if size is not None and size < weights:
            found = context.finding(
                document,
                f"the claim behind {mount.path} has {format_bytes(size)}, the weights take {format_bytes(weights)}",
                path=f"{engine.path}.volumeMounts",
                hint=f"ask for at least {format_bytes(2.2 * weights)}: two revisions",
            )
            yield replace(found, severity=Severity.WARNING) if on_efs(mount, document, context.release) else found
