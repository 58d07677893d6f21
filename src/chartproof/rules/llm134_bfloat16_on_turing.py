"""LLM134."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import candidate_gpus, capability_text
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

_BFLOAT16_CAPABILITY = (8, 0)


@rule(id="LLM134", name="bfloat16-on-turing", severity=Severity.ERROR, kinds=SERVING)
def bfloat16_on_turing(document: Document, context: Context) -> Iterator[Finding]:
    """bfloat16 is asked for on a GPU that lacks it.

    What:
        `--dtype bfloat16`, and the pod may land on a GPU below compute capability 8.0, such as the T4 of
        g4dn.

    Why it hurts:
        "Bfloat16 is only supported on GPUs with compute capability of at least 8.0": the engine stops.

    Bad:
        `--dtype bfloat16` on g4dn.xlarge

    Good:
        `--dtype auto`, which falls back, or `--dtype half`; or instances with Ampere and newer.

    References:
        https://docs.vllm.ai/en/latest/usage/troubleshooting.html
        https://developer.nvidia.com/cuda-gpus
    """
    for engine in engine_containers(document):
        if engine.option("--dtype") != "bfloat16":
            continue
        for gpu in candidate_gpus(engine, context.release):
            if gpu.compute_capability < _BFLOAT16_CAPABILITY:
                yield context.finding(
                    document,
                    f"{engine} asks for bfloat16 and may land on {gpu.product} "
                    f"(compute capability {capability_text(gpu)}), which has none",
                    path=f"{engine.path}.args",
                    hint="write --dtype auto or half, or allow newer GPUs only",
                )
                break
