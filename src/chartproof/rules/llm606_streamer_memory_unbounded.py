"""LLM606."""

from __future__ import annotations

import json
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import bytes_of, format_bytes
from chartproof.release import Document, dig
from chartproof.rules._weights import BUCKET, weights_bytes
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods_in, types_of_pod
from chartproof.workload import EngineContainer, engine_containers

#: The streamer's own buffer limit. Source: runai-model-streamer 0.17, environment variables.
_DEFAULT_BYTES = 40 * 10**9
#: What an engine process needs beside the buffer (the catalog's estimate for the server processes).
_ENGINE_BYTES = 7 * 1024**3


@rule(
    id="LLM606",
    name="streamer-memory-unbounded",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def streamer_memory_unbounded(document: Document, context: Context) -> Iterator[Finding]:
    """The streamer's buffer may outgrow the memory of the pod.

    What:
        vLLM streams weights without `memory_limit` (nor RUNAI_STREAMER_MEMORY_LIMIT), and the container's
        memory limit, or the smallest instance type it may run on, is below the buffer it then takes (40 GB, or
        the weights where they are smaller) plus what the engine itself needs.

    Why it hurts:
        The container is killed (exit 137, no traceback) while it loads, and again at each restart.

    Bad:
        `--load-format runai_streamer` with `limits: {memory: 14Gi}` for 16 GB of weights

    Good:
        `--model-loader-extra-config '{"memory_limit": 4294967296}'`

    References:
        https://github.com/run-ai/runai-model-streamer/blob/master/docs/src/env-vars.md
    """
    for engine in engine_containers(document):
        load_format = engine.option("--load-format") or ("runai_streamer" if BUCKET.match(engine.model) else "")
        if engine.engine != "vllm" or not load_format.startswith("runai_streamer") or _limited(engine):
            continue
        weights = weights_bytes(engine, context.release)
        buffer = min(_DEFAULT_BYTES, weights if weights is not None else _DEFAULT_BYTES)
        memory = bytes_of(dig(engine.container, "resources", "limits", "memory")) or _node_memory(engine, context)
        if memory is not None and memory < buffer + _ENGINE_BYTES:
            yield context.finding(
                document,
                f"the streaming buffer may take {format_bytes(buffer)} and the engine {format_bytes(_ENGINE_BYTES)}, "
                f"the container has {format_bytes(memory)}",
                path=engine.path,
                hint="add --model-loader-extra-config '{\"memory_limit\": 4294967296}'",
            )


def _limited(engine: EngineContainer) -> bool:
    """Whether somebody bounds the buffer: in the loader's configuration, or by environment."""
    if str(engine.environment.get("RUNAI_STREAMER_MEMORY_LIMIT") or "-1") != "-1":
        return True
    if any(each.name.endswith("extra-config.memory_limit") for each in engine.options):
        return True
    try:
        loaded = json.loads(engine.option("--model-loader-extra-config") or "{}")
    except json.JSONDecodeError:
        return True
    limit = dig(loaded, "memory_limit", default=-1)
    return isinstance(limit, int) and limit >= 0


def _node_memory(engine: EngineContainer, context: Context) -> int | None:
    """Bytes of the smallest instance type that the pod may land on, where the release has its pool."""
    sizes = [
        each.allocatable_memory_mebibytes * 1024**2
        for subject in gpu_pods_in(engine.document)
        if subject.pod is engine.pod
        for pool in subject.placed_on(context.release)
        for each in types_of_pod(subject, pool)
        if subject.needs.met_by(each)
    ]
    return min(sizes, default=None)
