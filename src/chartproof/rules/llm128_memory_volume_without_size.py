"""LLM128."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import volumes
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM128", name="memory-volume-without-size", severity=Severity.ERROR, kinds=SERVING)
def memory_volume_without_size(document: Document, context: Context) -> Iterator[Finding]:
    """A volume in memory has no size limit.

    What:
        An engine's pod has an `emptyDir` of medium Memory without `sizeLimit`.

    Why it hurts:
        What is written there counts against the container's memory limit, or, without one, against the
        node's: a growing cache kills the engine, or its neighbours, out of memory.

    Bad:
        `emptyDir: {medium: Memory}`

    Good:
        `emptyDir: {medium: Memory, sizeLimit: 2Gi}`

    References:
        https://kubernetes.io/docs/concepts/storage/volumes/#emptydir
    """
    seen: set[str] = set()
    for engine in engine_containers(document):
        for name, volume in volumes(engine.pod).items():
            path = engine.pod.path_of("spec", f"volumes[name={name}]")
            memory = dig(volume, "emptyDir", "medium") == "Memory"
            if memory and dig(volume, "emptyDir", "sizeLimit") is None and path not in seen:
                seen.add(path)
                yield context.finding(
                    document,
                    f"volume {name!r} lives in memory and has no sizeLimit",
                    path=path,
                    hint="add sizeLimit: 2Gi, and count it in the memory limit",
                )
