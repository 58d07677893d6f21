"""LLM131."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import Mount, mount_of, mounts, security
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers

_HOMES = {0: "/root", 2000: "/home/vllm"}


@rule(
    id="LLM131",
    name="read-only-root-without-writable-directories",
    severity=Severity.ERROR,
    kinds=SERVING,
)
def read_only_root_without_writable_directories(document: Document, context: Context) -> Iterator[Finding]:
    """The root filesystem is read-only, and a directory that the engine writes to has no volume.

    What:
        `readOnlyRootFilesystem: true` without a writable volume on `/tmp` (or `TMPDIR`), or on the home
        directory's caches (`HOME`, `HOME/.cache`, or the directories that `XDG_CACHE_HOME` or
        `VLLM_CACHE_ROOT` name).

    Why it hurts:
        Sockets between the engine's processes are files in /tmp, and compiled kernels go to the cache:
        the engine stops with "Read-only file system", some of it only after the model has loaded.

    Bad:
        `readOnlyRootFilesystem: true` and no volumes.

    Good:
        emptyDirs on `/tmp` and on the home directory.

    References:
        https://docs.vllm.ai/en/latest/usage/security.html
        https://docs.vllm.ai/en/latest/configuration/env_vars.html
    """
    for engine in engine_containers(document):
        if security(engine.pod, engine.container, "readOnlyRootFilesystem") is not True:
            continue
        found = mounts(engine.pod, engine.container)
        temporary = str(engine.environment.get("TMPDIR") or "/tmp")  # noqa: S108
        missing = [] if _writable(found, temporary) else [temporary]
        home = _home(engine)
        caches = [home, f"{home.rstrip('/')}/.cache"]
        caches += [
            str(engine.environment[name])
            for name in ("XDG_CACHE_HOME", "VLLM_CACHE_ROOT")
            if engine.environment.get(name)
        ]
        if not any(_writable(found, each) for each in caches):
            missing.append(home)
        if missing:
            yield context.finding(
                document,
                f"{engine} has a read-only root filesystem and no writable volume on {' and '.join(missing)}",
                path=f"{engine.path}.volumeMounts",
                hint=f"mount an emptyDir on {' and '.join(missing)}",
            )


def _writable(found: list[Mount], path: str) -> bool:
    mount = mount_of(found, path)
    return mount is not None and mount.writable


def _home(engine: EngineContainer) -> str:
    told = engine.environment.get("HOME")
    user = security(engine.pod, engine.container, "runAsUser")
    return str(told) if told else _HOMES.get(user if isinstance(user, int) else 0, "/")
