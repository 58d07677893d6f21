"""LLM127."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import GIBIBYTE, format_bytes
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import mount_of, mounts, parallel_gpus
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

#: Below this, NCCL and the engine's own broadcast run out with several ranks; vLLM's example has 2Gi.
_LEAST_BYTES = GIBIBYTE


@rule(id="LLM127", name="missing-shared-memory", severity=Severity.ERROR, kinds=SERVING)
def missing_shared_memory(document: Document, context: Context) -> Iterator[Finding]:
    """An engine on several GPUs has only the default 64 MiB of shared memory.

    What:
        Tensor, pipeline or data parallel ranks, and no volume on `/dev/shm`. Warning where there is one
        of less than 1Gi.

    Why it hurts:
        Ranks exchange tensors and NCCL its buffers over /dev/shm: "Bus error", or a hang at the first
        collective operation, which no probe on /health sees.

    Bad:
        `--tensor-parallel-size 4` without volumes.

    Good:
        `volumes: [{name: shm, emptyDir: {medium: Memory, sizeLimit: 8Gi}}]`, mounted on `/dev/shm`.

    References:
        https://docs.vllm.ai/en/latest/deployment/k8s.html
        https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html#sharing-data
    """
    for engine in engine_containers(document):
        ranks = max(parallel_gpus(engine) or 1, engine.gpus)
        if ranks == 1 or engine.pod.spec.get("hostIPC") is True:
            continue
        mount = mount_of([each for each in mounts(engine.pod, engine.container) if each.path != "/"], "/dev/shm")  # noqa: S108
        if mount is None:
            yield context.finding(
                document,
                f"{engine} has {ranks} ranks and no volume on /dev/shm (64 MiB by default)",
                path=f"{engine.path}.volumeMounts",
                hint="mount an emptyDir of medium Memory with a sizeLimit of 2Gi or more on /dev/shm",
            )
        elif mount.size_limit is not None and mount.size_limit < _LEAST_BYTES:
            finding = context.finding(
                document,
                f"{engine} has {ranks} ranks and {format_bytes(mount.size_limit)} of shared memory",
                path=engine.pod.path_of("spec", "volumes"),
                hint="write a sizeLimit of 2Gi or more",
            )
            yield replace(finding, severity=Severity.WARNING)
