"""How many tokens a replica makes, from profiles or by a scaling rule where there is none.

Scaling rule (always marked as an estimate): a decode step reads the weights of one GPU's share
once, so `alpha` grows with weights / tensor parallel size / memory bandwidth; `beta` and the cost
of a prompt grow with the parameters per GPU and shrink with bandwidth, and reading the KV cache grows
with its bytes per token. The reference is the
profile on the same GPU with the nearest size, else that of the same model on another GPU.

A step of a mixture of experts reads the experts that its tokens are sent to: with `b` sequences
1 - (1 - share)^b of them, if tokens choose alike. A line through that (least squares over the fitted
batches) is what `simulated_profile` makes of it; no published figure confirms it, so no default is derived
from it. The same holds for slices of a GPU (MIG), which have that share of its bandwidth and processors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import linear_regression

from chartproof.catalog import Catalog, Experts, Gpu, Model, Profile

#: Prompt and answer of the typical request (as in the published profiles).
PROMPT_TOKENS = 1024
ANSWER_TOKENS = 256
#: The profiles' lines are fitted up to 64 sequences and were run up to 128.
FITTED_BATCH = 64
LARGEST_BATCH = 128
_BATCHES = (1, 2, 4, 8, 16, 32, FITTED_BATCH)
#: Weights in four bits that no profile has, and the four bits whose profiles are scaled instead, by size.
_LIKE_PRECISION = {"mxfp4": "awq-int4", "int4": "awq-int4"}


@dataclass(frozen=True, slots=True)
class Throughput:
    """A replica at its target: `batch` running requests, generated tokens per second, ms per step."""

    batch: int
    tokens_per_second: float
    step_milliseconds: float
    estimate: bool


def profile_for(facts: Catalog, gpu: Gpu, model: Model, precision: str, tensor_parallel_size: int) -> Profile | None:
    """The catalog's profile of this combination, or one made by the scaling rule, or None."""
    exact = facts.profile(gpu.name, model.id, precision, tensor_parallel_size)
    if exact is not None and exact.gpu_memory_mebibytes in (None, gpu.memory_mebibytes):
        return exact
    return None if model.mixture_of_experts else _scaled(facts, gpu, model, precision, tensor_parallel_size)


def simulated_profile(
    facts: Catalog, gpu: Gpu, model: Model, precision: str, tensor_parallel_size: int, *, mig_profile: str = ""
) -> Profile | None:
    """The profile to simulate and play with: that of `profile_for`, or an estimate for mixtures of experts and slices.

    `mig_profile` is the slice of the GPU that a replica has, empty where it has whole GPUs.
    """
    profile = profile_for(facts, gpu, model, precision, tensor_parallel_size)
    if profile is None and model.experts is not None:
        dense = _scaled(facts, gpu, model, precision, tensor_parallel_size)
        profile = dense and _of_experts(dense, model.experts, model.parameters_billions)
    if profile is None or not mig_profile:
        return profile
    bandwidth, processors = facts.gpus[gpu.name].slice_shares(mig_profile)
    return replace(
        profile,
        alpha_milliseconds=profile.alpha_milliseconds / bandwidth,
        beta_milliseconds=profile.beta_milliseconds / bandwidth,
        kv_milliseconds_per_thousand_tokens=profile.kv_milliseconds_per_thousand_tokens / bandwidth,
        prefill_tokens_per_second=profile.prefill_tokens_per_second * processors,
        estimate=True,
    )


def _of_experts(dense: Profile, experts: Experts, parameters_billions: float) -> Profile:
    """The profile of a model as if it read all its weights for every token, made that of its experts."""
    active = experts.active_billions / parameters_billions
    routed = (1 - active) / (1 - experts.share)
    read = [1 - routed * (1 - experts.share) ** batch for batch in _BATCHES]
    slope, intercept = linear_regression(_BATCHES, read)
    return replace(
        dense,
        alpha_milliseconds=dense.alpha_milliseconds * intercept,
        beta_milliseconds=dense.beta_milliseconds * active + dense.alpha_milliseconds * slope,
        prefill_tokens_per_second=dense.prefill_tokens_per_second / active,
    )


def _scaled(facts: Catalog, gpu: Gpu, model: Model, precision: str, tensor_parallel_size: int) -> Profile | None:
    weights = model.weights_gigabytes.get(precision)
    known = _LIKE_PRECISION.get(precision, precision)
    references = [each for each in facts.profiles if each.precision == known and each.model in facts.models]
    if weights is None or not references:
        return None

    def distance(each: Profile) -> tuple[bool, bool, float]:
        share = _weights(facts, each) / each.tensor_parallel_size
        ours = weights / tensor_parallel_size
        return each.gpu != gpu.name, each.model != model.id, abs(share - ours)

    reference = min(references, key=distance)
    bandwidth = _bandwidth(facts, reference) / gpu.memory_bandwidth_gigabytes_per_second
    share = (weights / tensor_parallel_size) / (_weights(facts, reference) / reference.tensor_parallel_size)
    # A KV token is read once per step, by each GPU its share.
    ours_kv = model.kv_bytes_per_token(tensor_parallel_size=tensor_parallel_size)
    theirs = facts.models[reference.model]
    theirs_kv = theirs.kv_bytes_per_token(tensor_parallel_size=reference.tensor_parallel_size)
    kv_share = (
        (ours_kv / tensor_parallel_size) / (theirs_kv / reference.tensor_parallel_size)
        if ours_kv and theirs_kv
        else share
    )
    return replace(
        reference,
        gpu=gpu.name,
        model=model.id,
        precision=precision,
        tensor_parallel_size=tensor_parallel_size,
        alpha_milliseconds=reference.alpha_milliseconds * share * bandwidth,
        beta_milliseconds=reference.beta_milliseconds * share * bandwidth,
        kv_milliseconds_per_thousand_tokens=reference.kv_milliseconds_per_thousand_tokens * kv_share * bandwidth,
        prefill_tokens_per_second=reference.prefill_tokens_per_second / share / bandwidth,
        estimate=True,
        gpu_memory_mebibytes=None,
    )


def throughput(profile: Profile, concurrency: int, *, step_milliseconds: float) -> Throughput:
    """Generated tokens per second of a replica whose step may take at most `step_milliseconds`.

    Requests have PROMPT_TOKENS and ANSWER_TOKENS; prompts are computed between the steps.
    """
    batch = max(1, min(concurrency, profile.largest_batch(step_milliseconds), LARGEST_BATCH))
    step = profile.step_milliseconds(batch)
    seconds_per_request = PROMPT_TOKENS / profile.prefill_tokens_per_second + ANSWER_TOKENS * step / 1000 / batch
    return Throughput(batch, ANSWER_TOKENS / seconds_per_request, step, profile.estimate or batch > FITTED_BATCH)


def _weights(facts: Catalog, profile: Profile) -> float:
    return facts.models[profile.model].weights_gigabytes[profile.precision]


def _bandwidth(facts: Catalog, profile: Profile) -> float:
    # The 80 GB A100 of the profiles has 2039 GB/s (NVIDIA data sheet), the catalog's 40 GB one 1555.
    if profile.gpu == "a100" and profile.gpu_memory_mebibytes is not None:
        return 2039.0
    return facts.gpus[profile.gpu].memory_bandwidth_gigabytes_per_second
