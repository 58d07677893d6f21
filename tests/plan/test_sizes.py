from __future__ import annotations

import pytest

from chartproof.catalog import Gpu, catalog
from chartproof.plan.sizes import rank_sizes
from chartproof.plan.throughput import profile_for, simulated_profile, throughput


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


def test_nothing_is_derived_from_estimates_of_mixtures_of_experts() -> None:
    facts = catalog()
    model = facts.models["openai/gpt-oss-20b"]
    assert profile_for(facts, facts.gpus["l40s"], model, "mxfp4", 1) is None


def test_a_mixture_of_experts_is_simulated_between_its_active_and_all_of_its_weights() -> None:
    facts = catalog()
    model = facts.models["openai/gpt-oss-120b"]
    found = simulated_profile(facts, facts.gpus["h100"], model, "mxfp4", 1)
    dense = facts.profile("h100", "meta-llama/Llama-3.3-70B-Instruct", "awq-int4", 1)
    assert found is not None
    assert dense is not None
    assert found.estimate
    # As if all 65.2 GB were read, of the reference's 39.8 GB.
    all_read = dense.alpha_milliseconds * 65.2 / 39.8
    assert all_read * 5.1 / 116.8 < found.step_milliseconds(1) < 0.2 * all_read
    assert 0.8 * all_read < found.step_milliseconds(64) < all_read + dense.beta_milliseconds * 64
    assert found.prefill_tokens_per_second > 10 * dense.prefill_tokens_per_second


def test_a_slice_has_its_share_of_bandwidth_and_processors() -> None:
    facts = catalog()
    model = facts.models["meta-llama/Llama-3.1-8B-Instruct"]
    whole = simulated_profile(facts, facts.gpus["h100"], model, "bf16", 1)
    part = simulated_profile(facts, facts.gpus["h100"], model, "bf16", 1, mig_profile="3g.40gb")
    assert whole is not None
    assert part is not None
    assert part.estimate
    assert part.alpha_milliseconds == pytest.approx(whole.alpha_milliseconds * 2)
    assert part.prefill_tokens_per_second == pytest.approx(whole.prefill_tokens_per_second * 3 / 7)


@pytest.mark.parametrize("gpu", [each for each in catalog().gpus.values() if each.slices], ids=lambda each: each.name)
def test_slices_together_have_no_more_than_the_gpu(gpu: Gpu) -> None:
    for _, profile, count in gpu.slices:
        bandwidth, processors = gpu.slice_shares(profile)
        assert 0 < bandwidth * count <= 1.02
        assert 0 < processors * count <= 1


def test_throughput_stops_at_the_step_goal_and_at_the_last_profiled_batch() -> None:
    facts = catalog()
    profile = facts.profile("l40s", "meta-llama/Llama-3.1-8B-Instruct", "bf16", 1)
    assert profile is not None
    assert throughput(profile, 1000, step_milliseconds=30).batch == 29
    at_most = throughput(profile, 1000, step_milliseconds=1000)
    assert at_most.batch == 128
    assert at_most.estimate
