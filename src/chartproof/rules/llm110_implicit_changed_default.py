"""LLM110."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM110", name="implicit-changed-default", severity=Severity.NOTE, kinds=SERVING)
def implicit_changed_default(document: Document, context: Context) -> Iterator[Finding]:
    """An option whose default changed between releases is left to the default.

    What:
        vLLM runs without `--gpu-memory-utilization` (and without `--kv-cache-memory-bytes`): 0.9 up to
        0.19, 0.92 from 0.20 on, where CUDA graphs count as well.

    Why it hurts:
        An upgrade of the image changes how many requests a replica holds, and with it every autoscaling
        target that was derived from it.

    Bad:
        `args: [--max-model-len, "8192"]`

    Good:
        `args: [--max-model-len, "8192", --gpu-memory-utilization, "0.90"]`

    References:
        https://docs.vllm.ai/en/latest/configuration/conserving_memory.html
    """
    stated = ("--gpu-memory-utilization", "--device-memory-utilization", "--kv-cache-memory-bytes", "--config")
    for engine in engine_containers(document):
        if engine.engine == "vllm" and engine.uses_nvidia_gpus and engine.option(*stated) is None:
            yield context.finding(
                document,
                f"{engine} leaves the share of GPU memory to the default, which changed with vLLM 0.20",
                path=f"{engine.path}.args",
                hint="add --gpu-memory-utilization 0.90",
            )
