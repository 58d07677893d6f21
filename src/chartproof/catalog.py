"""Typed access to the catalog: facts about models, GPUs, instance types and engines.

The files live with the chart (`charts/llm-inference/files/catalog`), because its templates read
them too; an installed chartproof carries a copy. Each file names the public source of its figures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import yaml

from chartproof.resources import directory

MEBIBYTE = 1024**2
GIGABYTE = 10**9


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU by the name Karpenter's `instance-gpu-name` label carries.

    `memory_mebibytes` is what EC2 reports, `usable_share` an estimate of what CUDA sees of it,
    `driver` the oldest driver branch that knows it on EKS images.
    """

    name: str
    product: str
    compute_capability: tuple[int, int]
    memory_mebibytes: int
    usable_share: float
    driver: int
    memory_bandwidth_gigabytes_per_second: float
    slices: tuple[tuple[int, str, int], ...] = ()
    """MIG: memory of the whole GPU in MiB, profile, and how many of these slices it is cut into."""

    def slices_of(self, profile: str, mebibytes: int) -> int:
        """How many slices of a MIG profile a GPU with so much memory has, 0 where it has no such slices."""
        return next((count for memory, name, count in self.slices if (memory, name) == (mebibytes, profile)), 0)

    def slice_shares(self, profile: str) -> tuple[float, float]:
        """Shares of the GPU's memory bandwidth and of its processors that a MIG slice has.

        Bandwidth comes with the memory. Source: NVIDIA MIG user guide, "GPU instance".
        """
        size = next(memory for memory, name, _ in self.slices if name == profile)
        whole = next(name for memory, name, count in self.slices if (memory, count) == (size, 1))
        (processors, gigabytes), (all_processors, all_gigabytes) = map(slice_size, (profile, whole))
        return gigabytes / all_gigabytes, processors / all_processors

    def with_memory(self, mebibytes: int) -> Gpu:
        """The same GPU in another memory size (the A100 comes in two)."""
        return replace(self, memory_mebibytes=mebibytes)

    def supports(self, precision: str) -> bool:
        """Whether engines have kernels for weights of this precision on this GPU.

        Compute capability 8.0 for bf16 and 4-bit (Marlin) kernels, 8.9 for fp8 tensor cores, 7.5
        where nothing special is asked for; nvfp4 10.0. Source: vLLM's supported-hardware table.
        """
        needed = {"bf16": (8, 0), "fp8": (8, 9), "nvfp4": (10, 0), "fp16": (7, 5)}.get(precision, (8, 0))
        return self.compute_capability >= needed

    @property
    def usable_bytes(self) -> float:
        """Memory that an engine can see, in bytes (estimate)."""
        return self.memory_mebibytes * MEBIBYTE * self.usable_share


@dataclass(frozen=True, slots=True)
class Instance:
    """An EC2 instance type; allocatable figures are those Karpenter plans with (before DaemonSets).

    Price in USD per hour on demand in us-east-1, None where none is public.
    """

    name: str
    family: str
    gpu: str
    gpu_count: int
    gpu_memory_mebibytes: int
    architecture: str
    vcpu: int
    memory_mebibytes: int
    allocatable_millicpu: int
    allocatable_memory_mebibytes: int
    allocatable_pods: int
    nvme_gigabytes: int
    network_mbps: int
    ebs_mbps: int
    efa: int
    usd_per_hour: float | None

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels that a node of this type carries (Kubernetes' and Karpenter's AWS ones)."""
        size = self.name.partition(".")[2]
        category = re.match(r"[a-z]+", self.family)
        generation = re.search(r"\d+", self.family)
        labels = {
            "node.kubernetes.io/instance-type": self.name,
            "kubernetes.io/arch": self.architecture,
            "kubernetes.io/os": "linux",
            "karpenter.k8s.aws/instance-family": self.family,
            "karpenter.k8s.aws/instance-category": category[0] if category else "",
            "karpenter.k8s.aws/instance-generation": generation[0] if generation else "",
            "karpenter.k8s.aws/instance-size": size,
            "karpenter.k8s.aws/instance-hypervisor": "" if size.startswith("metal") else "nitro",
            "karpenter.k8s.aws/instance-cpu": str(self.vcpu),
            "karpenter.k8s.aws/instance-memory": str(self.memory_mebibytes),
            "karpenter.k8s.aws/instance-network-bandwidth": str(self.network_mbps),
            "karpenter.k8s.aws/instance-ebs-bandwidth": str(self.ebs_mbps),
        }
        if self.nvme_gigabytes:
            labels["karpenter.k8s.aws/instance-local-nvme"] = str(self.nvme_gigabytes)
        if self.gpu_count:
            labels |= {
                "karpenter.k8s.aws/instance-gpu-name": self.gpu,
                "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
                "karpenter.k8s.aws/instance-gpu-count": str(self.gpu_count),
                "karpenter.k8s.aws/instance-gpu-memory": str(self.gpu_memory_mebibytes),
            }
        return labels


@dataclass(frozen=True, slots=True)
class Experts:
    """A mixture of experts: parameters that compute a token (in billions), and the share of experts it is sent to."""

    active_billions: float
    share: float


@dataclass(frozen=True, slots=True)
class Model:
    """What sizing needs to know of a model.

    `weights_gigabytes` maps a precision to decimal gigabytes. Shape fields are None where the
    catalog does not know them; `estimated` marks entries not checked against the published files.
    """

    id: str
    parameters_billions: float
    weights_gigabytes: Mapping[str, float]
    layers: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dimension: int | None = None
    latent_width: int | None = None
    context: int | None = None
    architecture: str = ""
    gated: bool = False
    mixture_of_experts: bool = False
    experts: Experts | None = None
    estimated: bool = False

    def kv_bytes_per_token(self, *, element_bytes: int = 2, tensor_parallel_size: int = 1) -> int | None:
        """KV-cache bytes of one token over all GPUs of a replica, None where the shape is unknown.

        Heads are replicated when there are more GPUs than KV heads; latent attention stores one
        vector per layer on every GPU. Source: vLLM `v1/kv_cache_interface.py`.
        """
        if self.layers is None:
            return None
        if self.latent_width is not None:
            return self.layers * self.latent_width * element_bytes * tensor_parallel_size
        if self.kv_heads is None or self.head_dimension is None:
            return None
        heads = max(1, self.kv_heads // tensor_parallel_size) * tensor_parallel_size
        return self.layers * max(heads, self.kv_heads) * self.head_dimension * 2 * element_bytes


@dataclass(frozen=True, slots=True)
class Profile:
    """How fast a model steps on a GPU: decode step in ms = alpha + beta x sequences (context 1152)."""

    gpu: str
    model: str
    precision: str
    tensor_parallel_size: int
    alpha_milliseconds: float
    beta_milliseconds: float
    kv_milliseconds_per_thousand_tokens: float
    prefill_tokens_per_second: float
    estimate: bool
    gpu_memory_mebibytes: int | None = None

    def step_milliseconds(self, sequences: float) -> float:
        """Decode step, in milliseconds, with that many running sequences."""
        return self.alpha_milliseconds + self.beta_milliseconds * sequences

    def largest_batch(self, milliseconds: float) -> int:
        """Sequences with which a decode step stays within that time; 0 where one alone takes longer."""
        return max(0, int((milliseconds - self.alpha_milliseconds) / self.beta_milliseconds))


@dataclass(frozen=True)
class Catalog:
    """Everything in the catalog files, by name. `engines` and the delivery facts stay mappings."""

    models: Mapping[str, Model]
    gpus: Mapping[str, Gpu]
    instances: Mapping[str, Instance]
    profiles: tuple[Profile, ...]
    engines: Mapping[str, Mapping[str, Any]]
    deliveries: Mapping[str, Mapping[str, Any]]
    node: Mapping[str, Any]
    image_pull: Mapping[str, float]
    nvme_megabytes_per_second: float

    def gpu_instances(self) -> Iterator[Instance]:
        """Instance types that offer `nvidia.com/gpu`."""
        return (each for each in self.instances.values() if each.gpu_count)

    @cached_property
    def _base_names(self) -> Mapping[str, Model]:
        return {_normalise(each.id.rpartition("/")[2]): each for each in self.models.values()}

    def find_model(self, text: str) -> Model | None:
        """The model that an id, path, bucket prefix or quantized repository's name speaks of.

        Exact ids win; else the longest catalog name contained in the text, ignoring case and
        punctuation, so that `s3://b/qwen2.5-7b-instruct/` and
        `hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4` are found.
        """
        if text in self.models:
            return self.models[text]
        wanted = _normalise(text)
        found = [name for name in self._base_names if name in wanted]
        return self._base_names[max(found, key=len)] if found else None

    def profile(self, gpu: str, model: str, precision: str, tensor_parallel_size: int) -> Profile | None:
        """The profile of this combination, or None."""
        for each in self.profiles:
            if (each.gpu, each.model, each.precision, each.tensor_parallel_size) == (
                gpu,
                model,
                precision,
                tensor_parallel_size,
            ):
                return each
        return None


def _normalise(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def _read(name: str) -> dict[str, Any]:
    with (directory("catalog") / name).open(encoding="utf-8") as stream:
        loaded: dict[str, Any] = yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return loaded


def model_from_facts(identifier: str, facts: Mapping[str, Any]) -> Model:
    """A `Model` from the keys that the catalog and `model.profile` of the chart use."""
    latent = facts.get("mla")
    return Model(
        id=identifier,
        parameters_billions=float(facts.get("paramsB", 0)),
        weights_gigabytes={str(key): float(value) for key, value in facts["weightsGB"].items()},
        layers=facts.get("layers"),
        heads=facts.get("heads"),
        kv_heads=facts.get("kvHeads"),
        head_dimension=facts.get("headDim"),
        latent_width=latent["kvLoraRank"] + latent["qkRopeHeadDim"] if latent else None,
        context=facts.get("context"),
        architecture=str(facts.get("architecture", "")),
        gated=bool(facts.get("gated", False)),
        mixture_of_experts=bool(facts.get("moe", False)),
        experts=_experts(facts),
        estimated=bool(facts.get("estimated", False)),
    )


def _experts(facts: Mapping[str, Any]) -> Experts | None:
    if "activeParamsB" not in facts:
        return None
    return Experts(float(facts["activeParamsB"]), facts["expertsPerToken"] / facts["experts"])


def slice_size(profile: str) -> tuple[int, int]:
    """Processors and gigabytes that a MIG profile's name tells of: `1g.10gb` is (1, 10)."""
    processors, _, gigabytes = profile.partition("g.")
    return int(processors), int(gigabytes.removesuffix("gb"))


@cache
def catalog() -> Catalog:
    """The catalog, read once."""
    engines = _read("engines.yaml")
    gpus = {
        name: Gpu(
            name=name,
            product=facts["product"],
            compute_capability=_capability(facts["computeCapability"]),
            memory_mebibytes=facts["memoryMebibytes"],
            usable_share=facts["usableShare"],
            driver=facts["driver"],
            memory_bandwidth_gigabytes_per_second=facts["memoryBandwidthGigabytesPerSecond"],
            slices=tuple(
                (memory, profile, count)
                for memory, profiles in facts.get("mig", {}).items()
                for profile, count in profiles.items()
            ),
        )
        for name, facts in _read("gpus.yaml")["gpus"].items()
    }
    instances = {
        name: Instance(
            name=name,
            family=facts["family"],
            gpu=facts["gpu"],
            gpu_count=facts["gpuCount"],
            gpu_memory_mebibytes=facts["gpuMemoryMebibytes"],
            architecture=facts["architecture"],
            vcpu=facts["vcpu"],
            memory_mebibytes=facts["memoryMebibytes"],
            allocatable_millicpu=facts["allocatableMillicpu"],
            allocatable_memory_mebibytes=facts["allocatableMemoryMebibytes"],
            allocatable_pods=facts["allocatablePods"],
            nvme_gigabytes=facts["nvmeGigabytes"],
            network_mbps=facts["networkMbps"],
            ebs_mbps=facts["ebsMbps"],
            efa=facts["efa"],
            usd_per_hour=facts.get("usdPerHour"),
        )
        for name, facts in _read("instances.yaml")["instances"].items()
    }
    profiles = tuple(
        Profile(
            gpu=facts["gpu"],
            model=facts["model"],
            precision=facts["precision"],
            tensor_parallel_size=facts["tensorParallelSize"],
            alpha_milliseconds=facts["alphaMilliseconds"],
            beta_milliseconds=facts["betaMilliseconds"],
            kv_milliseconds_per_thousand_tokens=facts["kvMillisecondsPerThousandTokens"],
            prefill_tokens_per_second=facts["prefillTokensPerSecond"],
            estimate=facts["estimate"],
            gpu_memory_mebibytes=facts.get("gpuMemoryMebibytes"),
        )
        for facts in _read("profiles.yaml")["profiles"]
    )
    return Catalog(
        models={name: model_from_facts(name, facts) for name, facts in _read("models.yaml")["models"].items()},
        gpus=gpus,
        instances=instances,
        profiles=profiles,
        engines=engines["engines"],
        deliveries=engines["deliveries"],
        node=engines["node"],
        image_pull=engines["imagePull"],
        nvme_megabytes_per_second=engines["nvmeMegabytesPerSecond"],
    )


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = str(text).partition(".")
    return int(major), int(minor or 0)
