"""LLM105."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import model_of
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM105", name="tensor-parallel-above-kv-heads", severity=Severity.WARNING, kinds=SERVING)
def tensor_parallel_above_kv_heads(document: Document, context: Context) -> Iterator[Finding]:
    """The tensor parallel size is larger than the number of key-value heads.

    What:
        A model with fewer key-value heads than tensor parallel ranks: each head is stored on several
        GPUs.

    Why it hurts:
        KV cache per GPU stops shrinking: the replica holds fewer requests than its memory suggests.

    Bad:
        Qwen2.5-7B (4 key-value heads) with `--tensor-parallel-size 7`, or any size above 4.

    Good:
        Tensor parallel size up to the key-value heads; more GPUs as pipeline stages or replicas.

    References:
        https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py
    """
    for engine in engine_containers(document):
        model = model_of(engine)
        if model is None or not model.kv_heads or engine.tensor_parallel_size <= model.kv_heads:
            continue
        size = engine.tensor_parallel_size
        yield context.finding(
            document,
            f"{engine}: tensor parallel size {size} is above the {model.kv_heads} key-value heads of {model.id}, "
            f"so each is stored {size // model.kv_heads} times",
            path=f"{engine.path}.args",
            hint=f"use at most {model.kv_heads}, and further GPUs as replicas or pipeline stages",
        )
