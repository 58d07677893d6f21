"""LLM610."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._pods import mount_of, mounts
from chartproof.rules._selection import together
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers, engines_of


@rule(
    id="LLM610",
    name="shared-compile-cache",
    severity=Severity.WARNING,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"),
)
def shared_compile_cache(document: Document, context: Context) -> Iterator[Finding]:
    """Different engines share one compile cache.

    What:
        Two engines of the release with different images, models or options have their vLLM cache
        (VLLM_CACHE_ROOT) on the same directory of the same claim.

    Why it hurts:
        The cache holds compiled code and is not made for several writers of different builds: engines load
        artifacts that were made for another image or GPU, or recompile each other's away.

    Bad:
        two models with `VLLM_CACHE_ROOT=/cache` on one claim

    Good:
        a directory (or subPath) per image, options and GPU

    References:
        https://docs.vllm.ai/en/latest/design/torch_compile/
    """
    for engine in engine_containers(document):
        own = _cache(engine)
        if own is None:
            continue
        for other in engines_of(context.release):
            if other.document.identity <= document.identity or not together(context.release, document, other.document):
                continue
            same = (other.container.get("image"), other.words) == (engine.container.get("image"), engine.words)
            if _cache(other) == own and not same:
                yield context.finding(
                    document,
                    f"shares its compile cache on claim {own[0]!r} with {other.document.identity}",
                    path=f"{engine.path}.volumeMounts",
                    hint="give each its own directory, named after image, options and GPU",
                )


def _cache(engine: EngineContainer) -> tuple[str, str, str] | None:
    """Claim, subPath and directory of the engine's cache, where it lies on a claim."""
    home = str(engine.environment.get("HOME") or "/root")
    root = str(engine.environment.get("VLLM_CACHE_ROOT") or f"{home}/.cache/vllm")
    mount = mount_of(mounts(engine.pod, engine.container), root)
    claim = dig(mount.volume, "persistentVolumeClaim", "claimName") if mount is not None else None
    if mount is None or not claim:
        return None
    body = next(each for each in engine.container["volumeMounts"] if each.get("mountPath") == mount.path)
    return str(claim), str(body.get("subPath") or ""), root[len(mount.path.rstrip("/")) :]
