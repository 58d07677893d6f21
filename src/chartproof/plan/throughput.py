"""How many tokens a replica makes, from profiles or by a scaling rule where there is none.

Scaling rule (always marked as an estimate): a decode step reads the weights of one GPU's share
once, so `alpha` grows with weights / tensor parallel size / memory bandwidth; `beta` and the cost
of a prompt grow with the parameters per GPU and shrink with bandwidth, and reading the KV cache grows
with its bytes per token. The reference is the
profile on the same GPU with the nearest size, else that of the same model on another GPU. Mixture
of experts models have no rule: a step does not read all their weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from chartproof.catalog import Catalog, Gpu, Model, Profile

#: Prompt and answer of the typical request (as in the published profiles).
PROMPT_TOKENS = 1024
ANSWER_TOKENS = 256
#: The profiles' lines are fitted up to 64 sequences and were run up to 128.
FITTED_BATCH = 64
LARGEST_BATCH = 128


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
    weights = model.weights_gigabytes.get(precision)
    if weights is None or model.mixture_of_experts:
        return None
    references = [each for each in facts.profiles if each.precision == precision and each.model in facts.models]
    if not references:
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
