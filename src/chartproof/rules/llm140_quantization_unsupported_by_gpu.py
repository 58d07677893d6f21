"""LLM140."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._kinds import SERVING
from chartproof.rules._models import candidate_gpus, capability_text
from chartproof.rules.registry import Context, rule
from chartproof.workload import PRECISION_ANNOTATION, EngineContainer, engine_containers


@dataclass(frozen=True, slots=True)
class _Need:
    """Compute capability at which a method runs natively, and from which on it runs at all."""

    what: str
    mark: re.Pattern[str]
    native: tuple[int, int]
    least: tuple[int, int]


#: Marlin kernels need 8.0 and carry fp8 and 4-bit floats where the tensor cores lack them; tensor cores have
#: fp8 from 8.9 and nvfp4 from 10.0 on.
_WEIGHTS = (
    _Need("Marlin kernels", re.compile(r"(awq|gptq)[_-]marlin", re.IGNORECASE), (8, 0), (8, 0)),
    _Need("nvfp4 weights", re.compile(r"nvfp4|modelopt_fp4", re.IGNORECASE), (10, 0), (8, 0)),
    _Need("mxfp4 weights", re.compile(r"mxfp4", re.IGNORECASE), (8, 0), (8, 0)),
    _Need("fp8 weights", re.compile(r"fp8", re.IGNORECASE), (8, 9), (8, 0)),
    _Need("awq weights", re.compile(r"awq", re.IGNORECASE), (7, 5), (7, 5)),
)
_CACHE = _Need("an fp8 KV cache", re.compile(r"fp8", re.IGNORECASE), (8, 9), (8, 0))


@rule(id="LLM140", name="quantization-unsupported-by-gpu", severity=Severity.ERROR, kinds=SERVING)
def quantization_unsupported_by_gpu(document: Document, context: Context) -> Iterator[Finding]:
    """The pod may land on a GPU that lacks the quantization it is told to use.

    What:
        The weights' quantization (by `--quantization`, the model's name or the precision annotation) or
        `--kv-cache-dtype fp8` needs a newer compute capability than the oldest GPU the pod may get.
        Warning where it runs all the same, unpacked to 16 bits in every step.

    Why it hurts:
        "The quantization method fp8 is not supported for the current GPU", on some nodes only; or tokens
        come at half the speed that the sizing assumed.

    Bad:
        An FP8 checkpoint on g4dn (T4); `--kv-cache-dtype fp8` on g5 (A10G).

    Good:
        FP8 on L4, L40S, H100 and newer; AWQ or GPTQ on A10G.

    References:
        https://docs.vllm.ai/en/latest/features/quantization/supported_hardware.html
        https://developer.nvidia.com/cuda-gpus
    """
    for engine in engine_containers(document):
        gpus = candidate_gpus(engine, context.release)
        if not gpus:
            continue
        oldest = gpus[0]
        for need in _needs(engine):
            if oldest.compute_capability >= need.native:
                continue
            runs = oldest.compute_capability >= need.least
            finding = context.finding(
                document,
                f"{engine} uses {need.what} and may land on {oldest.product} (compute capability "
                f"{capability_text(oldest)}), which " + ("only emulates them" if runs else "cannot run them"),
                path=f"{engine.path}.args",
                hint=f"allow only GPUs of compute capability {need.native[0]}.{need.native[1]} and newer, "
                "or use another quantization",
            )
            yield replace(finding, severity=Severity.WARNING) if runs else finding


def _needs(engine: EngineContainer) -> Iterator[_Need]:
    told = (
        engine.option("--quantization", "-q"),
        engine.pod.annotations.get(PRECISION_ANNOTATION),
        engine.model,
    )
    text = " ".join(str(each) for each in told if each)
    weights = next((each for each in _WEIGHTS if each.mark.search(text)), None)
    if weights is not None:
        yield weights
    if _CACHE.mark.search(engine.option("--kv-cache-dtype") or ""):
        yield _CACHE
