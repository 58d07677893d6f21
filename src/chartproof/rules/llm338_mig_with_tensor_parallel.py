"""LLM338."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(
    id="LLM338",
    name="mig-with-tensor-parallel",
    severity=Severity.ERROR,
    kinds=("Deployment", "StatefulSet", "ReplicaSet", "Pod", "LeaderWorkerSet"),
)
def mig_with_tensor_parallel(document: Document, context: Context) -> Iterator[Finding]:
    """Tensor parallelism over slices of a GPU.

    What:
        An engine with a tensor parallel size above 1 asks for MIG devices (`nvidia.com/mig-...`).

    Why it hurts:
        NCCL cannot connect MIG slices, and MIG switches NVLink off: the engine fails while it forms its group.

    Bad:
        `--tensor-parallel-size 2` with `nvidia.com/mig-3g.40gb: 2`

    Good:
        one slice that holds the model, or whole GPUs

    References:
        https://docs.nvidia.com/datacenter/tesla/mig-user-guide/
    """
    for engine in engine_containers(document):
        size = engine.integer("--tensor-parallel-size", "-tp", "--tp-size", "--tp", default=1)
        slices = sorted(
            name
            for side in ("limits", "requests")
            for name in dig(engine.container, "resources", side, default={})
            if str(name).startswith("nvidia.com/mig-")
        )
        if size > 1 and slices:
            yield context.finding(
                document,
                f"tensor parallel size {size} over {slices[0]}: slices of a GPU cannot form a group",
                path=f"{engine.path}.resources",
                hint="use one slice with --tensor-parallel-size 1, or whole GPUs",
            )
