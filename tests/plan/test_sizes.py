from __future__ import annotations

import pytest

from chartproof.catalog import catalog
from chartproof.plan.sizes import rank_sizes
from chartproof.plan.throughput import profile_for, throughput


def test_sizes_are_ranked_by_price_per_token() -> None:
    facts = catalog()
    sizes = rank_sizes(facts, facts.models["meta-llama/Llama-3.1-8B-Instruct"])
    prices = [each.usd_per_million_tokens for each in sizes if each.usd_per_million_tokens]
    assert prices == sorted(prices)
    assert len(prices) > 20


def test_a_size_fits_and_its_tensor_parallel_size_divides_the_heads() -> None:
    facts = catalog()
    model = facts.models["Qwen/Qwen2.5-7B-Instruct"]
    for size in rank_sizes(facts, model):
        assert size.fit.fits
        assert (model.heads or 0) % size.tensor_parallel_size == 0
        assert size.instance.gpu_count % size.tensor_parallel_size == 0


def test_precisions_that_the_gpu_lacks_are_left_out() -> None:
    facts = catalog()
    sizes = rank_sizes(facts, facts.models["meta-llama/Llama-3.1-8B-Instruct"])
    assert {each.precision for each in sizes if each.instance.gpu == "a10g"} == {"bf16", "awq-int4"}
    assert not [each for each in sizes if each.instance.gpu == "t4"]


def test_a_70b_model_in_16_bits_needs_several_gpus() -> None:
    facts = catalog()
    sizes = rank_sizes(facts, facts.models["meta-llama/Llama-3.3-70B-Instruct"], precision="bf16")
    assert min(each.tensor_parallel_size for each in sizes if each.instance.gpu == "h100") == 2


def test_scaled_profiles_are_marked_as_estimates() -> None:
    facts = catalog()
    model = facts.models["mistralai/Mistral-7B-Instruct-v0.3"]
    scaled = profile_for(facts, facts.gpus["l40s"], model, "bf16", 1)
    reference = facts.profile("l40s", "meta-llama/Llama-3.1-8B-Instruct", "bf16", 1)
    assert scaled is not None
    assert reference is not None
    assert scaled.estimate
    assert not reference.estimate
    assert scaled.alpha_milliseconds == pytest.approx(reference.alpha_milliseconds * 14.5 / 16.1, rel=0.02)


def test_mixture_of_experts_models_are_not_scaled() -> None:
    facts = catalog()
    model = facts.models["openai/gpt-oss-20b"]
    assert profile_for(facts, facts.gpus["l40s"], model, "mxfp4", 1) is None


def test_throughput_stops_at_the_step_goal_and_at_the_last_profiled_batch() -> None:
    facts = catalog()
    profile = facts.profile("l40s", "meta-llama/Llama-3.1-8B-Instruct", "bf16", 1)
    assert profile is not None
    assert throughput(profile, 1000, step_milliseconds=30).batch == 29
    at_most = throughput(profile, 1000, step_milliseconds=1000)
    assert at_most.batch == 128
    assert at_most.estimate
