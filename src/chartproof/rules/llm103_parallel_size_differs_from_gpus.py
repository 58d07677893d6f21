"""LLM103."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._pods import parallel_gpus
from chartproof.rules.registry import Context, rule
from chartproof.workload import EngineContainer, engine_containers


@rule(id="LLM103", name="parallel-size-differs-from-gpus", severity=Severity.ERROR, kinds=SERVING)
def parallel_size_differs_from_gpus(document: Document, context: Context) -> Iterator[Finding]:
    """The engine's parallel sizes ask for another number of GPUs than the pod has.

    What:
        Tensor x pipeline x data parallel size is not the number of GPUs of the container, times the pods
        of its group where the engine spans several (`--nnodes`, LeaderWorkerSet).

    Why it hurts:
        With fewer GPUs than ranks the engine stops at start; with more, the rest is paid for and idle.

    Bad:
        `--tensor-parallel-size 4` and `nvidia.com/gpu: 2`.

    Good:
        `--tensor-parallel-size 4` and `nvidia.com/gpu: 4`.

    References:
        https://docs.vllm.ai/en/latest/serving/parallelism_scaling.html
        https://docs.sglang.ai/advanced_features/server_arguments.html
    """
    for engine in engine_containers(document):
        wanted = parallel_gpus(engine)
        pods = _pods(engine)
        if wanted is None or pods is None or not engine.gpus or not engine.uses_nvidia_gpus:
            continue
        if engine.option("--config") is not None or engine.option("--data-parallel-rank", "-dpn") is not None:
            continue  # a file, or one rank of many, says what cannot be seen here
        local = engine.option("--data-parallel-size-local", "-dpl")
        if local is not None:
            if not local.isdigit():
                continue
            wanted = engine.tensor_parallel_size * engine.pipeline_parallel_size * int(local)
            pods = 1
        if wanted != engine.gpus * pods:
            have = f"{engine.gpus} GPUs" if pods == 1 else f"{engine.gpus} GPUs x {pods} pods = {engine.gpus * pods}"
            yield context.finding(
                document,
                f"{engine} is told to use {wanted} GPUs (tensor {engine.tensor_parallel_size} x pipeline "
                f"{engine.pipeline_parallel_size} parallel), and has {have}",
                path=f"{engine.path}.resources.limits",
                hint="make tensor x pipeline x data parallel size equal to the GPUs of the replica",
            )


def _pods(engine: EngineContainer) -> int | None:
    """Pods that share the ranks; None where the number depends on the running group."""
    nodes = engine.option("--nnodes", "-n")
    if nodes is not None:
        return int(nodes) if nodes.isdigit() else None
    script = engine.shell_script or ""
    joined = engine.option("--distributed-executor-backend") == "ray" or "ray start" in script or "ray_" in script
    if engine.group_size > 1 and (joined or "multi-node" in script):
        return engine.group_size
    return 1
