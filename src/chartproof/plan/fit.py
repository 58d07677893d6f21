"""Whether a model fits the GPUs of a replica, and how many requests it then holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from chartproof.catalog import GIGABYTE, Gpu, Model

#: vLLM's own limit on sequences in a batch where none is given, on GPUs below 70 GiB
#: (`engine/arg_utils.py`; 1024 on larger ones except the A100).
DEFAULT_MAX_SEQUENCES = 256
#: Prompt and answer tokens of a typical request, as in the published profiles (1024 in, 256 out).
TYPICAL_REQUEST_TOKENS = 1280
#: Share of the held requests that an autoscaling target should ask for; the rest absorbs a burst.
TARGET_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Fit:
    """Memory of one replica, in bytes over all its GPUs.

    `kv_tokens` is None where the model's shape is unknown; `fits` then only says that the weights do.
    """

    gpu: str
    gpus: int
    budget_bytes: float
    weights_bytes: float
    overhead_bytes: float
    kv_bytes_per_token: int | None
    max_model_len: int | None
    max_sequences: int

    @property
    def kv_bytes(self) -> float:
        """What is left for the KV cache; negative where not even the weights fit."""
        return self.budget_bytes - self.weights_bytes - self.overhead_bytes

    @property
    def kv_tokens(self) -> int | None:
        """Tokens the KV cache holds."""
        if self.kv_bytes_per_token is None:
            return None
        return max(0, int(self.kv_bytes / self.kv_bytes_per_token))

    @property
    def fits(self) -> bool:
        """Weights fit and one request of the longest length does (vLLM refuses to start otherwise)."""
        if self.kv_bytes <= 0:
            return False
        return self.kv_tokens is None or self.max_model_len is None or self.kv_tokens >= self.max_model_len

    def concurrency(self, request_tokens: int = TYPICAL_REQUEST_TOKENS) -> int | None:
        """Requests of that many tokens that run at once; None where the shape is unknown."""
        if self.kv_tokens is None:
            return None
        return min(self.max_sequences, self.kv_tokens // request_tokens)


def memory_fit(
    model: Model,
    gpu: Gpu,
    *,
    weights_gigabytes: float,
    gpu_memory_utilization: float,
    tensor_parallel_size: int = 1,
    pipeline_parallel_size: int = 1,
    overhead_gigabytes: float,
    kv_element_bytes: int = 2,
    max_model_len: int | None = None,
    max_sequences: int = DEFAULT_MAX_SEQUENCES,
) -> Fit:
    """Memory of a replica on this GPU.

    budget = utilisation x usable memory x GPUs; KV cache = budget - weights - overhead x GPUs, as
    vLLM's `determine_available_memory` does with measured figures. `overhead_gigabytes` is per GPU. Where the
    stages of a pipeline have unequal numbers of layers, the fullest one bounds all (both engines give the further
    layers to some stages, one each): the GPUs count that much less.
    """
    gpus = tensor_parallel_size * pipeline_parallel_size
    used = float(gpus)
    if model.layers and pipeline_parallel_size > 1:
        used *= model.layers / (pipeline_parallel_size * math.ceil(model.layers / pipeline_parallel_size))
    return Fit(
        gpu=gpu.name,
        gpus=gpus,
        budget_bytes=gpu_memory_utilization * gpu.usable_bytes * used,
        weights_bytes=weights_gigabytes * GIGABYTE,
        overhead_bytes=overhead_gigabytes * GIGABYTE * used,
        kv_bytes_per_token=model.kv_bytes_per_token(
            element_bytes=kv_element_bytes, tensor_parallel_size=tensor_parallel_size
        ),
        max_model_len=max_model_len or model.context,
        max_sequences=max_sequences,
    )
