from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from chartproof.catalog import catalog
from chartproof.plan import Fit, memory_fit

#: Llama 3.1 8B in 16 bits, as the chart serves it.
LLAMA: dict[str, Any] = {"weights_gigabytes": 16.1, "gpu_memory_utilization": 0.9, "overhead_gigabytes": 3.2}


@pytest.mark.parametrize(
    ("model", "bytes_per_token"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 131072),
        ("meta-llama/Llama-3.3-70B-Instruct", 327680),
        ("Qwen/Qwen2.5-7B-Instruct", 57344),
        ("deepseek-ai/DeepSeek-V3", 70272),
    ],
)
def test_kv_bytes_per_token_equal_the_published_figures(model: str, bytes_per_token: int) -> None:
    assert catalog().models[model].kv_bytes_per_token() == bytes_per_token


def test_latent_attention_is_stored_on_every_gpu_of_a_replica() -> None:
    model = catalog().models["deepseek-ai/DeepSeek-V3"]
    assert model.kv_bytes_per_token(tensor_parallel_size=8) == 8 * 70272


def test_kv_heads_are_replicated_when_there_are_more_gpus_than_heads() -> None:
    model = catalog().models["Qwen/Qwen2.5-7B-Instruct"]
    assert model.kv_bytes_per_token(tensor_parallel_size=4) == 57344
    assert model.kv_bytes_per_token(tensor_parallel_size=8) == 2 * 57344


@pytest.mark.parametrize(
    ("gpu", "model", "precision", "published_concurrency"),
    [
        ("l40s", "meta-llama/Llama-3.1-8B-Instruct", "bf16", 144),
        ("l4", "meta-llama/Llama-3.1-8B-Instruct", "bf16", 14),
        ("h100", "meta-llama/Llama-3.1-8B-Instruct", "bf16", 343),
        ("l40s", "Qwen/Qwen3-8B", "bf16", 126),
    ],
)
def test_concurrency_is_near_the_published_profiles(
    gpu: str, model: str, precision: str, published_concurrency: int
) -> None:
    facts = catalog()
    fit = memory_fit(
        facts.models[model],
        facts.gpus[gpu],
        weights_gigabytes=facts.models[model].weights_gigabytes[precision],
        gpu_memory_utilization=0.9,
        overhead_gigabytes=3.2,
        max_model_len=8192,
        max_sequences=1024,
    )
    assert fit.fits
    # Our usable memory is 2 % below EC2's figure, which matters most where little is left.
    slack = 0.02 * facts.gpus[gpu].memory_mebibytes * 1024**2 / (fit.kv_bytes_per_token or 1) / 1280
    assert fit.concurrency() == pytest.approx(published_concurrency, abs=slack + 0.08 * published_concurrency)


def test_a_model_larger_than_the_gpu_does_not_fit() -> None:
    facts = catalog()
    model = facts.models["Qwen/Qwen3-32B"]
    fit = memory_fit(
        model, facts.gpus["l4"], weights_gigabytes=65.5, gpu_memory_utilization=0.9, overhead_gigabytes=3.2
    )
    assert not fit.fits
    assert fit.kv_tokens == 0


def test_one_request_of_the_longest_length_must_fit() -> None:
    facts = catalog()
    model = facts.models["meta-llama/Llama-3.1-8B-Instruct"]
    fit = partial(memory_fit, model, facts.gpus["l4"], **LLAMA)
    assert not fit(max_model_len=131072).fits
    assert fit(max_model_len=8192).fits


def test_an_fp8_cache_holds_twice_the_tokens() -> None:
    facts = catalog()
    model = facts.models["meta-llama/Llama-3.1-8B-Instruct"]
    fit = partial(memory_fit, model, facts.gpus["l40s"], **LLAMA)
    full = fit().kv_tokens
    half = fit(kv_element_bytes=1).kv_tokens
    assert full is not None
    assert half == pytest.approx(2 * full, abs=1)


def test_the_fullest_stage_of_a_pipeline_bounds_all() -> None:
    facts = catalog()
    model = facts.models["deepseek-ai/DeepSeek-V3.2"]
    assert model.layers == 61

    def fit(stages: int) -> Fit:
        return memory_fit(
            model,
            facts.gpus["h100"],
            weights_gigabytes=689,
            gpu_memory_utilization=0.9,
            tensor_parallel_size=8,
            pipeline_parallel_size=stages,
            overhead_gigabytes=3.2,
        )

    # 31 layers of one stage: 31 / 61 of the weights and of each token's KV cache, in half of the GPUs.
    half = 0.9 * facts.gpus["h100"].usable_bytes * 8 - 3.2e9 * 8 - 689e9 * 31 / 61
    tokens = half / (31 * (512 + 64) * 2 * 8)
    assert fit(2).kv_tokens == pytest.approx(tokens, rel=1e-4)
    # As many stages as layers are of equal size.
    assert fit(61).budget_bytes == pytest.approx(0.9 * facts.gpus["h100"].usable_bytes * 8 * 61)
