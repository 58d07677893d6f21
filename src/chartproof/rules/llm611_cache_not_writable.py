"""LLM611."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._pods import Mount, mount_of, mounts, security
from chartproof.rules._weights import claim_spec, is_efs_class
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

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
        claim) of a pod that runs as another user and sets no fsGroup.

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
            elif mount is not None and isinstance(user, int) and user > 0 and _belongs_to_root(engine, mount, context):
                problem = f"lies on a block volume, which belongs to root, and the engine runs as user {user}"
            else:
                continue
            yield context.finding(
                document,
                f"{name} ({path}) {problem}",
                path=f"{engine.path}.env",
                hint="point it to a volume the user can write: an emptyDir, or a claim with fsGroup in the pod's "
                "securityContext",
            )


def _belongs_to_root(engine: EngineContainer, mount: Mount, context: Context) -> bool:
    """Whether a mount is a fresh block volume that nobody gives to the engine's group."""
    spec = claim_spec(mount, engine.document, context.release)
    modes = set(spec.get("accessModes") or [])
    blocks = bool(modes) and modes <= {"ReadWriteOnce", "ReadWriteOncePod"}
    return (
        blocks
        and dig(engine.pod.spec, "securityContext", "fsGroup") is None
        and not is_efs_class(spec, context.release)
    )


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
