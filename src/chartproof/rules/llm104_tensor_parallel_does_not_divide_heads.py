"""LLM104."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import model_of
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers


@rule(id="LLM104", name="tensor-parallel-does-not-divide-heads", severity=Severity.ERROR, kinds=SERVING)
def tensor_parallel_does_not_divide_heads(document: Document, context: Context) -> Iterator[Finding]:
    """The tensor parallel size does not divide the model's attention heads.

    What:
        The number of attention heads is no multiple of the tensor parallel size; or the tensor parallel
        size and the number of key-value heads do not divide each other.

    Why it hurts:
        The engine refuses to start: "Total number of attention heads must be divisible by tensor
        parallel size". The GPUs are paid for while the pod crashes.

    Bad:
        Qwen2.5-7B (28 heads) with `--tensor-parallel-size 8`.

    Good:
        `--tensor-parallel-size 4`.

    References:
        https://github.com/vllm-project/vllm/blob/main/vllm/config/model.py
    """
    for engine in engine_containers(document):
        model = model_of(engine)
        size = engine.tensor_parallel_size
        if model is None or not model.heads or size == 1:
            continue
        legal = [each for each in range(1, model.heads + 1) if not _problem(each, model.heads, model.kv_heads)]
        problem = _problem(size, model.heads, model.kv_heads)
        if problem:
            sizes = ", ".join(str(each) for each in legal)
            yield context.finding(
                document,
                f"{engine}: tensor parallel size {size} {problem} of {model.id}",
                path=f"{engine.path}.args",
                hint=f"possible sizes are {sizes}",
            )


def _problem(size: int, heads: int, kv_heads: int | None) -> str:
    if heads % size:
        return f"does not divide the {heads} attention heads"
    if kv_heads and kv_heads % size and size % kv_heads:
        return f"and the {kv_heads} key-value heads do not divide each other, as they must in a layer"
    return ""
