"""LLM135."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.plan import Fit, plan_workload
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules.registry import Context, rule
from chartproof.workload import engine_containers

#: The plan's overhead is an estimate: only what also fails with this share of it is certain.
_CERTAIN_OVERHEAD = 0.6
_GIGABYTE = 10**9


@rule(id="LLM135", name="model-does-not-fit", severity=Severity.ERROR, kinds=SERVING)
def model_does_not_fit(document: Document, context: Context) -> Iterator[Finding]:
    """The model does not fit the memory of the GPUs that the pod may get.

    What:
        Weights, overhead and the KV cache of one request of `--max-model-len` exceed the used share of
        the GPU memory, on the smallest GPU that selectors, affinity and NodePools allow. A note where it
        is within the uncertainty of the estimate.

    Why it hurts:
        The engine stops after loading: out of memory, or "the model's max seq len is larger than the
        maximum number of tokens that can be stored in KV cache". The GPU is paid for all the while.

    Bad:
        Llama 3.3 70B in 16 bits on one L40S; `--max-model-len 131072` for an 8B model on 24 GB.

    Good:
        A quantized checkpoint, more GPUs, or a shorter context.

    References:
        https://docs.vllm.ai/en/latest/configuration/conserving_memory.html
    """
    for engine in engine_containers(document):
        plan = plan_workload(engine, context.release)
        fit = plan.smallest_fit if plan else None
        if plan is None or fit is None or fit.fits:
            continue
        finding = context.finding(
            document,
            f"{engine}: {plan.model.id} ({plan.precision}, {plan.weights_gigabytes:.1f} GB) does not fit "
            f"{fit.gpus} x {fit.gpu}: {_shortage(fit)}",
            path=f"{engine.path}.args",
            hint="shorten --max-model-len, quantize, use more GPUs, or allow larger GPUs only",
        )
        certain = not replace(fit, overhead_bytes=fit.overhead_bytes * _CERTAIN_OVERHEAD).fits
        yield finding if certain else replace(finding, severity=Severity.NOTE)


def _shortage(fit: Fit) -> str:
    if fit.kv_bytes <= 0:
        needed = (fit.weights_bytes + fit.overhead_bytes) / _GIGABYTE
        return f"{needed:.1f} GB of weights and overhead, {fit.budget_bytes / _GIGABYTE:.1f} GB of memory to use"
    return f"the KV cache holds {fit.kv_tokens} tokens, one request of {fit.max_model_len} is to fit"
