"""LLM404."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

_SHARED = {"hostIPC": "memory segments", "hostPID": "processes", "hostNetwork": "network"}
_CAPABILITIES = frozenset({"SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "NET_ADMIN", "DAC_READ_SEARCH", "ALL"})


@rule(
    id="LLM404",
    name="privileged-engine",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet", "Pod"),
)
def privileged_engine(document: Document, context: Context) -> Iterator[Finding]:
    """An engine has privileges over its node.

    What:
        An engine's container is privileged or has a capability such as SYS_PTRACE or SYS_ADMIN, or its pod
        shares the host's network, processes or IPC.

    Why it hurts:
        Engines run code from model repositories and parse untrusted input. A hole in one is then a hole in the
        node and its other pods. vLLM needs none of it: /dev/shm comes from a memory volume, RDMA from IPC_LOCK.

    Bad:
        `hostIPC: true`

    Good:
        an emptyDir of medium Memory at /dev/shm

    References:
        https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    for engine in engine_containers(document):
        for field, what in _SHARED.items():
            if engine.pod.spec.get(field) is True:
                yield context.finding(
                    document,
                    f"{engine} shares the {what} of its node",
                    path=engine.pod.path_of("spec", field),
                    hint="remove it; for shared memory mount an emptyDir of medium Memory at /dev/shm",
                )
        if dig(engine.container, "securityContext", "privileged") is True:
            yield context.finding(
                document,
                f"{engine} is privileged",
                path=f"{engine.path}.securityContext.privileged",
                hint="remove it: GPUs come from the device plugin",
            )
        for name in dig(engine.container, "securityContext", "capabilities", "add", default=[]) or []:
            if str(name).removeprefix("CAP_") in _CAPABILITIES:
                yield context.finding(
                    document,
                    f"{engine} has capability {name}",
                    path=f"{engine.path}.securityContext.capabilities.add",
                    hint="remove it; RDMA needs IPC_LOCK only",
                )
