"""LLM137."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from chartproof.catalog import catalog
from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import GIBIBYTE, bytes_of, format_bytes
from chartproof.release import Document, dig
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import mounts
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

#: The base is an estimate; only what stays this far below the sum is called wrong.
_LIMIT_SHARE = 0.8
_REQUEST_SHARE = 0.6


@rule(id="LLM137", name="memory-request-too-small", severity=Severity.ERROR, kinds=SERVING)
def memory_request_too_small(document: Document, context: Context) -> Iterator[Finding]:
    """The engine's host memory is below what its processes, shared memory and streaming buffer need.

    What:
        The memory limit is less than the catalog's base for the server processes (more with each further
        GPU) plus the volumes in memory plus the streamer's buffer. Warning where only the request is. The
        base is an estimate: a limit is reported below 80 % of the sum, a request below 60 %.

    Why it hurts:
        A limit that is too small kills the engine while it loads (exit code 137, no trace). A request
        that is too small puts it on a node without room, where it is evicted under load.

    Bad:
        `limits: {memory: 8Gi}` with 8 GiB of streaming buffer.

    Good:
        `requests` and `limits` of 24Gi.

    References:
        https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
        https://github.com/run-ai/runai-model-streamer/blob/master/docs/src/env-vars.md
    """
    for engine in engine_containers(document):
        if not engine.uses_nvidia_gpus:
            continue
        limit = bytes_of(dig(engine.container, "resources", "limits", "memory"))
        request = bytes_of(dig(engine.container, "resources", "requests", "memory"))
        base, shared, buffer = _base(engine), _shared(engine), _buffer(engine)
        needed = base + shared + buffer
        deadly = limit is not None and limit < _LIMIT_SHARE * needed
        tight = request is not None and request < _REQUEST_SHARE * needed
        if not deadly and not tight:
            continue
        given = (limit if deadly else request) or 0
        finding = context.finding(
            document,
            f"{engine}: {'limit' if deadly else 'request'} of {format_bytes(given)} memory is below "
            f"{format_bytes(needed)} (processes {format_bytes(base)}, shared memory {format_bytes(shared)}, "
            f"streaming buffer {format_bytes(buffer)})",
            path=f"{engine.path}.resources",
            hint=f"request and limit at least {format_bytes(needed)}",
        )
        yield finding if deadly else replace(finding, severity=Severity.WARNING)


def _base(engine: EngineContainer) -> int:
    facts = catalog().engines.get(engine.engine) or catalog().engines["vllm"]
    memory = dig(facts, "hostMemoryGibibytes") or catalog().engines["vllm"]["hostMemoryGibibytes"]
    further = max(0, engine.gpus - 1)
    return int((memory["base"] + further * memory["perFurtherGpu"]) * GIBIBYTE)


def _shared(engine: EngineContainer) -> int:
    sizes = {each.name: each.size_limit or 0 for each in mounts(engine.pod, engine.container) if each.in_memory}
    return sum(sizes.values())


def _buffer(engine: EngineContainer) -> int:
    """The streamer's buffer where it is stated; its default is another rule's business."""
    if not (engine.option("--load-format") or "").startswith("runai_streamer"):
        return 0
    told = engine.environment.get("RUNAI_STREAMER_MEMORY_LIMIT")
    try:
        config = json.loads(engine.option("--model-loader-extra-config") or "{}")
        told = config.get("memory_limit", told) if isinstance(config, dict) else told
        return max(0, int(told or 0))
    except (TypeError, ValueError):
        return 0
