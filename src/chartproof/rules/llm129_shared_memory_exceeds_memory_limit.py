"""LLM129."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import GIBIBYTE, bytes_of, format_bytes
from chartproof.release import Document, dig
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import mounts
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

#: What the server processes take at the very least: the imports alone are about 4 GiB resident.
_ENGINE_BYTES = 4 * GIBIBYTE


@rule(id="LLM129", name="shared-memory-exceeds-memory-limit", severity=Severity.ERROR, kinds=SERVING)
def shared_memory_exceeds_memory_limit(document: Document, context: Context) -> Iterator[Finding]:
    """Volumes in memory leave the engine too little of its memory limit.

    What:
        The size limits of the mounted emptyDirs of medium Memory, and 4Gi for the engine's processes,
        exceed the container's memory limit.

    Why it hurts:
        Their content counts against the limit: once they fill, the kernel kills the engine (exit code
        137), with no trace in its log.

    Bad:
        `limits: {memory: 8Gi}` with 8Gi of /dev/shm.

    Good:
        `limits: {memory: 24Gi}` with 8Gi of /dev/shm.

    References:
        https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
    """
    for engine in engine_containers(document):
        limit = bytes_of(dig(engine.container, "resources", "limits", "memory"))
        sizes = {each.name: each.size_limit or 0 for each in mounts(engine.pod, engine.container) if each.in_memory}
        total = sum(sizes.values())
        if limit is not None and total and total + _ENGINE_BYTES > limit:
            yield context.finding(
                document,
                f"{engine}: {format_bytes(total)} of volumes in memory leave {format_bytes(limit - total)} of the "
                f"{format_bytes(limit)} memory limit to the engine",
                path=f"{engine.path}.resources.limits.memory",
                hint=f"raise the limit to {format_bytes(total + 8 * GIBIBYTE)} or more, or shrink the volumes",
            )
