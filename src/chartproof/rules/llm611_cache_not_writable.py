"""LLM611."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._pods import mount_of, mounts, security
from chartproof.rules._weights import claim_spec
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

_BLOCK_MODES = frozenset({"ReadWriteOnce", "ReadWriteOncePod"})
_HINT = "point it to a volume the user can write: an emptyDir, or a claim with fsGroup in the pod's securityContext"
_VARIABLES = (
    "VLLM_CACHE_ROOT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "XDG_CACHE_HOME",
)


@rule(
    id="LLM611",
    name="cache-not-writable",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def cache_not_writable(document: Document, context: Context) -> Iterator[Finding]:
    """A cache lies where the engine cannot write.

    What:
        `HF_HOME`, `VLLM_CACHE_ROOT`, another cache variable or HOME points to a read-only mount, below /root
        while the pod runs as another user and no volume is mounted there, or to a block volume (a ReadWriteOnce
        claim) of a pod that runs as another user and sets no fsGroup: an error where the release shows that it
        is EBS, else a note.

    Why it hurts:
        The engine stops at start with PermissionError or a read-only file system; where it does not, nothing is
        cached and every start compiles again.

    Bad:
        `HF_HOME: /root/.cache/huggingface` with `runAsUser: 2000`

    Good:
        `HF_HOME: /home/vllm/.cache/huggingface` on a writable volume

    References:
        https://docs.vllm.ai/en/latest/deployment/docker/
    """
    for engine in engine_containers(document):
        user = security(engine.pod, engine.container, "runAsUser")
        for name, path in _caches(engine):
            mount = mount_of(mounts(engine.pod, engine.container), path)
            if mount is not None and not mount.writable:
                problem = f"lies on {mount.path}, which is mounted read-only"
            elif (
                mount is None and isinstance(user, int) and user > 0 and (path == "/root" or path.startswith("/root/"))
            ):
                problem = f"lies in root's home, and the engine runs as user {user}"
            else:
                continue
            yield context.finding(document, f"{name} ({path}) {problem}", path=f"{engine.path}.env", hint=_HINT)
        yield from _owned_by_root(engine, context)


def _owned_by_root(engine: EngineContainer, context: Context) -> Iterator[Finding]:
    """Caches on a fresh block volume that nobody gives to the engine's group."""
    user = security(engine.pod, engine.container, "runAsUser")
    if not (isinstance(user, int) and user > 0) or dig(engine.pod.spec, "securityContext", "fsGroup") is not None:
        return
    for name, path in _caches(engine):
        mount = mount_of(mounts(engine.pod, engine.container), path)
        spec = claim_spec(mount, engine.document, context.release) if mount is not None else {}
        modes = set(spec.get("accessModes") or [])
        if not modes or not modes <= _BLOCK_MODES:
            continue
        storage_class = context.release.find("StorageClass", str(spec.get("storageClassName") or ""))
        known = storage_class is not None and str(storage_class.get("provisioner")).startswith("ebs.csi")
        found = context.finding(
            engine.document,
            f"{name} ({path}) lies on a block volume, which belongs to root, and the engine runs as user {user}",
            path=f"{engine.path}.env",
            hint=_HINT,
        )
        yield found if known else replace(found, severity=Severity.NOTE)


def _caches(engine: EngineContainer) -> Iterator[tuple[str, str]]:
    """Cache directories that the engine is told and writes to."""
    offline = str(engine.environment.get("HF_HUB_OFFLINE") or "") == "1" or engine.model.startswith("/")
    for name in _VARIABLES:
        value = engine.environment.get(name)
        if isinstance(value, str) and value.startswith("/") and not (offline and name.startswith("HF_")):
            yield name, value
    home = engine.environment.get("HOME")
    if isinstance(home, str) and "VLLM_CACHE_ROOT" not in engine.environment:
        yield "the cache of HOME", f"{home.rstrip('/')}/.cache"
    download = engine.option("--download-dir")
    if download and not engine.model.startswith("/"):
        yield "--download-dir", download
