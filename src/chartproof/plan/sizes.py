"""Instance types for a model, ranked by price per generated token."""

from __future__ import annotations

from dataclasses import dataclass

from chartproof.catalog import Catalog, Instance, Model
from chartproof.plan.cold_start import cold_start
from chartproof.plan.fit import Fit, memory_fit
from chartproof.plan.throughput import Throughput, profile_for, throughput
from chartproof.plan.workload_plan import DEFAULT_IMAGE_GIGABYTES

#: `--gpu-memory-utilization` that the chart states.
UTILIZATION = 0.9


@dataclass(frozen=True, slots=True)
class Size:
    """One way to run a model: an instance type, a precision, GPUs per replica.

    `usd_per_million_tokens` counts generated tokens of typical requests at full load of all
    replicas that the instance holds, on demand; None where price or speed is unknown.
    """

    instance: Instance
    precision: str
    tensor_parallel_size: int
    fit: Fit
    throughput: Throughput | None
    cold_start_seconds: float

    @property
    def replicas(self) -> int:
        """Replicas that the instance's GPUs hold."""
        return self.instance.gpu_count // self.tensor_parallel_size

    @property
    def usd_per_million_tokens(self) -> float | None:
        """Price of a million generated tokens."""
        if self.throughput is None or self.instance.usd_per_hour is None:
            return None
        per_hour = self.throughput.tokens_per_second * self.replicas * 3600
        return self.instance.usd_per_hour / per_hour * 1_000_000


def rank_sizes(
    facts: Catalog,
    model: Model,
    *,
    precision: str | None = None,
    max_model_len: int = 8192,
    step_milliseconds: float = 50.0,
    delivery: str = "stream",
) -> list[Size]:
    """Every instance type and precision on which the model fits, cheapest tokens first.

    Per instance the smallest tensor parallel size that fits is taken; sizes of unknown price or
    speed come last.
    """
    found = []
    for each_precision, weights in model.weights_gigabytes.items():
        if precision not in (None, each_precision):
            continue
        for instance in facts.gpu_instances():
            size = _smallest(
                facts,
                model,
                instance,
                precision=each_precision,
                weights=weights,
                max_model_len=max_model_len,
                step_milliseconds=step_milliseconds,
                delivery=delivery,
            )
            if size is not None:
                found.append(size)
    return sorted(found, key=lambda each: (each.usd_per_million_tokens or float("inf"), each.instance.name))


def _smallest(
    facts: Catalog,
    model: Model,
    instance: Instance,
    *,
    precision: str,
    weights: float,
    max_model_len: int,
    step_milliseconds: float,
    delivery: str,
) -> Size | None:
    gpu = facts.gpus[instance.gpu].with_memory(instance.gpu_memory_mebibytes)
    if not gpu.supports(precision):
        return None
    engine = facts.engines["vllm"]
    size = 1
    while size <= instance.gpu_count:
        if instance.gpu_count % size == 0 and (model.heads or size) % size == 0:
            fit = memory_fit(
                model,
                gpu,
                weights_gigabytes=weights,
                gpu_memory_utilization=UTILIZATION,
                tensor_parallel_size=size,
                overhead_gigabytes=engine["gpuOverheadGigabytes"],
                max_model_len=min(max_model_len, model.context or max_model_len),
            )
            if fit.fits:
                profile = profile_for(facts, gpu, model, precision, size)
                concurrency = fit.concurrency() or 1
                start = cold_start(
                    facts,
                    engine="vllm",
                    weights_gigabytes=weights,
                    delivery=delivery,
                    instance=instance,
                    image_gigabytes=DEFAULT_IMAGE_GIGABYTES,
                    node_family="bottlerocket",
                )
                speed = throughput(profile, concurrency, step_milliseconds=step_milliseconds) if profile else None
                return Size(instance, precision, size, fit, speed, start.seconds)
        size *= 2
    return None
