"""LLM602."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import bytes_of, format_bytes
from chartproof.release import Document, dig
from chartproof.rules._pods import Mount, mount_of, mounts
from chartproof.rules._weights import claim_spec, hub_repository, weights_bytes, weights_mount
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import needs_of
from chartproof.workload import EngineContainer, engine_containers


@rule(
    id="LLM602",
    name="download-volume-too-small",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def download_volume_too_small(document: Document, context: Context) -> Iterator[Finding]:
    """The local volume that weights are downloaded to is smaller than the weights.

    What:
        The emptyDir (or ephemeral volume) under the engine's model path, or under its Hugging Face cache, has a
        size limit below the weights; or the containers' ephemeral-storage limits are below them. Sizes come
        from the catalog or the annotation chartproof.io/weights-gigabytes.

    Why it hurts:
        The kubelet evicts the pod in the middle of the download, every time.

    Bad:
        `emptyDir: {sizeLimit: 10Gi}` for 16.1 GB of weights

    Good:
        `emptyDir: {sizeLimit: 18Gi}`

    References:
        https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
    """
    for engine in engine_containers(document):
        weights = weights_bytes(engine, context.release)
        mount = weights_mount(engine) or _cache_mount(engine)
        if weights is None or mount is None:
            continue
        size = mount.size_limit
        if "ephemeral" in mount.volume:
            size = bytes_of(dig(claim_spec(mount, document, context.release), "resources", "requests", "storage"))
        if size is not None and size < weights:
            yield context.finding(
                document,
                f"volume {mount.name!r} holds {format_bytes(size)}, the weights take {format_bytes(weights)}",
                path=engine.pod.path_of("spec", "volumes"),
                hint=f"raise it to at least {format_bytes(1.1 * weights)}",
            )
            continue
        limits = [
            found
            for container in (*engine.pod.containers(), *engine.pod.containers(init=True))
            if (found := bytes_of(dig(container, "resources", "limits", "ephemeral-storage"))) is not None
        ]
        on_disk = "emptyDir" in mount.volume and not mount.in_memory
        if on_disk and limits and len(limits) == len(engine.pod.containers()) and sum(limits) < weights:
            yield context.finding(
                document,
                f"ephemeral-storage limits of {format_bytes(sum(limits))} are below {format_bytes(weights)} of weights",
                path=f"{engine.path}.resources.limits",
                hint=f"raise them above {format_bytes(1.1 * weights)} (asked for: "
                f"{format_bytes(needs_of(engine.pod).ephemeral_bytes)})",
            )


def _cache_mount(engine: EngineContainer) -> Mount | None:
    """The mount that the engine's own download from Hugging Face goes to."""
    if not hub_repository(engine):
        return None
    home = str(engine.environment.get("HOME") or "/root")
    cache = engine.option("--download-dir") or str(
        engine.environment.get("HF_HUB_CACHE") or engine.environment.get("HF_HOME") or f"{home}/.cache/huggingface"
    )
    return mount_of(mounts(engine.pod, engine.container), cache)
