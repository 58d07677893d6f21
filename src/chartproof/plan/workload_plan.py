"""The plan of one engine workload, read from its rendered manifests."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from chartproof.catalog import Catalog, Instance, Model, catalog
from chartproof.plan.candidates import candidate_instances, cut
from chartproof.plan.cold_start import ColdStart, cold_start
from chartproof.plan.fit import DEFAULT_MAX_SEQUENCES, TARGET_SHARE, TYPICAL_REQUEST_TOKENS, Fit, memory_fit
from chartproof.plan.throughput import profile_for
from chartproof.release import Release, dig
from chartproof.workload import (
    DELIVERY_ANNOTATION,
    ENGINE_START_ANNOTATION,
    IMAGE_GIGABYTES_ANNOTATION,
    MODEL_ANNOTATION,
    NODE_FAMILY_ANNOTATION,
    PRECISION_ANNOTATION,
    WEIGHTS_GIGABYTES_ANNOTATION,
    EngineContainer,
    engines_of,
    mig_profile,
)

#: Compressed size assumed for an engine image that does not say (vLLM's own, 0.2x to 0.33).
DEFAULT_IMAGE_GIGABYTES = 9.4

#: Time between two tokens that a replica at its target may reach (the chart's `autoscaling.stepMilliseconds`).
STEP_MILLISECONDS = 50.0

_PRECISION_MARKS = (
    ("awq-int4", re.compile(r"awq|gptq|int4|w4a16", re.IGNORECASE)),
    ("fp8", re.compile(r"fp8", re.IGNORECASE)),
    ("mxfp4", re.compile(r"mxfp4", re.IGNORECASE)),
)
_WEIGHTS_MARK = re.compile(r"hugging|hf[-_ ]|snapshot|s3|gs://|download|weights|model", re.IGNORECASE)
_HUMAN_INTEGER = re.compile(r"^(\d+(?:\.\d+)?)([kKmM]?)$")
_HUMAN_FACTOR = {"": 1, "k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}
#: Default of `--gpu-memory-utilization` by engine version: 0.9 until 0.19, 0.92 from 0.20.
_UTILIZATION_CHANGED = (0, 20, 0)


@dataclass(frozen=True)
class WorkloadPlan:
    """What one engine workload needs: `candidates` are the instance types it may run on, cheapest first.

    `fits` has one entry per GPU model and size among the candidates. `tokens` and bytes are those of
    one replica.
    """

    container: EngineContainer
    model: Model
    precision: str
    weights_gigabytes: float
    delivery: str
    candidates: tuple[Instance, ...]
    fits: tuple[Fit, ...]
    image_gigabytes: float
    node_family: str | None
    facts: Catalog

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.container.tensor_parallel_size * self.container.pipeline_parallel_size

    @property
    def nodes(self) -> int:
        """Nodes of one replica: 1, or those of a group."""
        return self.container.pods_per_replica

    @property
    def gpus_per_node(self) -> int:
        """GPUs that a replica has of each of its nodes."""
        return max(1, self.gpus // self.nodes)

    @property
    def smallest_fit(self) -> Fit | None:
        """The tightest of the fits: what the release must live with."""
        return min(self.fits, key=lambda each: each.kv_bytes) if self.fits else None

    @property
    def concurrency(self) -> int | None:
        """Typical requests that one replica runs at once on its tightest GPU."""
        return self.smallest_fit.concurrency(TYPICAL_REQUEST_TOKENS) if self.smallest_fit else None

    @property
    def slowest_instance(self) -> Instance | None:
        """The candidate with the least network, which bounds the load of weights."""
        return min(self.candidates, key=lambda each: each.network_mbps) if self.candidates else None

    @cached_property
    def cold_start(self) -> ColdStart:
        """Phases on the slowest candidate."""
        return self.cold_start_on(self.slowest_instance)

    def cold_start_on(self, instance: Instance | None, *, replicas: int = 1, delivery: str = "") -> ColdStart:
        """Phases on an instance type, for that many replicas at once, by this or another delivery."""
        return cold_start(
            self.facts,
            engine=self.container.engine,
            weights_gigabytes=self.weights_gigabytes,
            delivery=delivery or self.delivery,
            instance=instance,
            image_gigabytes=self.image_gigabytes,
            node_family=self.node_family,
            downloads_in_container=(delivery or self.delivery) == "huggingface"
            and not any(_brings_weights(each) for each in self.container.pod.containers(init=True)),
            eager=_is_eager(self.container),
            compile_cache=_has_compile_cache(self.container),
            engine_start_seconds=_number(self.container.pod.annotations.get(ENGINE_START_ANNOTATION)),
            # Each node of a replica fetches the weights for itself.
            replicas=replicas * self.nodes,
        )

    @property
    def usd_per_hour(self) -> float | None:
        """Price of one replica on the cheapest candidate: its share of the GPUs of an instance, or of several."""
        prices = [
            each.usd_per_hour * max(1, self.gpus) / each.gpu_count for each in self.candidates if each.usd_per_hour
        ]
        return min(prices) if prices else None

    @property
    def target(self) -> int | None:
        """Requests an autoscaler should aim at per replica.

        What the KV cache and the batch hold at once, and what a decode step of STEP_MILLISECONDS
        allows, on the tightest GPU; a fifth is left free for a burst.
        """
        fit = self.smallest_fit
        concurrency = self.concurrency
        if fit is None or concurrency is None:
            return None
        gpu = self.facts.gpus[fit.gpu].with_memory(self._memory_mebibytes(fit.gpu))
        profile = profile_for(self.facts, gpu, self.model, self.precision, self.container.tensor_parallel_size)
        # Nothing is published about slices of a GPU.
        if profile is not None and not mig_profile(self.container.container):
            concurrency = min(concurrency, profile.largest_batch(STEP_MILLISECONDS))
        return max(1, int(concurrency * TARGET_SHARE))

    def _memory_mebibytes(self, gpu: str) -> int:
        return min(each.gpu_memory_mebibytes for each in self.candidates if each.gpu == gpu)


def plan_release(release: Release, facts: Catalog | None = None) -> list[WorkloadPlan]:
    """Plans of every engine workload whose model the catalog (or an annotation) knows; a group of pods has one."""
    return [
        plan
        for each in engines_of(release)
        if not each.is_worker and (plan := plan_workload(each, release, facts)) is not None
    ]


def plan_workload(container: EngineContainer, release: Release, facts: Catalog | None = None) -> WorkloadPlan | None:
    """The plan of one engine container; None where its model is unknown and nothing says its size."""
    facts = facts or catalog()
    annotations = container.pod.annotations
    model = _model(container, facts)
    if model is None:
        return None
    precision = annotations.get(PRECISION_ANNOTATION) or _precision(container, model)
    weights = _number(annotations.get(WEIGHTS_GIGABYTES_ANNOTATION)) or model.weights_gigabytes.get(precision)
    if weights is None:
        return None
    gpus = container.tensor_parallel_size * container.pipeline_parallel_size
    candidates = candidate_instances(container.pod, release, facts, gpus=math.ceil(gpus / container.pods_per_replica))
    if profile := mig_profile(container.container):
        candidates = cut(candidates, profile, facts)
    overhead = _overhead_gigabytes(container, facts)
    fits = {
        (each.gpu, each.gpu_memory_mebibytes): memory_fit(
            model,
            facts.gpus[each.gpu].with_memory(each.gpu_memory_mebibytes),
            weights_gigabytes=weights,
            gpu_memory_utilization=_utilization(container),
            tensor_parallel_size=container.tensor_parallel_size,
            pipeline_parallel_size=container.pipeline_parallel_size,
            overhead_gigabytes=overhead,
            kv_element_bytes=1 if (container.option("--kv-cache-dtype") or "").startswith("fp8") else 2,
            max_model_len=human_integer(container.option("--max-model-len", "--context-length")),
            max_sequences=container.integer("--max-num-seqs", "--max-running-requests", default=DEFAULT_MAX_SEQUENCES),
        )
        for each in candidates
        if each.gpu in facts.gpus
    }
    return WorkloadPlan(
        container=container,
        model=model,
        precision=precision,
        weights_gigabytes=weights,
        delivery=annotations.get(DELIVERY_ANNOTATION) or delivery_of(container),
        candidates=candidates,
        fits=tuple(fits.values()),
        image_gigabytes=_number(annotations.get(IMAGE_GIGABYTES_ANNOTATION)) or DEFAULT_IMAGE_GIGABYTES,
        node_family=_node_family(release) or annotations.get(NODE_FAMILY_ANNOTATION),
        facts=facts,
    )


def human_integer(text: str | None) -> int | None:
    """A number as vLLM reads it: `8k` is 8000, `8K` is 8192; None for absent, `auto` and `-1`."""
    match = _HUMAN_INTEGER.match(text or "")
    return int(float(match[1]) * _HUMAN_FACTOR[match[2]]) if match else None


def delivery_of(container: EngineContainer) -> str:
    """How weights reach the replica, as the manifests show it: a key of the catalog's deliveries."""
    if (container.option("--load-format") or "").startswith("runai_streamer") or container.model.startswith(
        ("s3://", "gs://", "az://")
    ):
        return "stream"
    if not container.model.startswith("/"):
        return "huggingface"
    volumes = {each.get("name"): each for each in container.pod.spec.get("volumes") or []}
    mounts = [
        each
        for each in container.container.get("volumeMounts") or []
        if container.model.startswith(str(each.get("mountPath")))
    ]
    if not mounts:
        return "image"
    volume = volumes.get(max(mounts, key=lambda each: len(str(each.get("mountPath"))))["name"]) or {}
    return "initDownload" if "emptyDir" in volume or "ephemeral" in volume else "volume"


def _model(container: EngineContainer, facts: Catalog) -> Model | None:
    annotated = container.pod.annotations.get(MODEL_ANNOTATION)
    for text in (annotated, container.model, container.served_model_name):
        model = facts.find_model(text) if text else None
        if model is not None:
            return model
    gigabytes = _number(container.pod.annotations.get(WEIGHTS_GIGABYTES_ANNOTATION))
    if gigabytes is None:
        return None
    return Model(
        id=annotated or container.model, parameters_billions=0, weights_gigabytes={"bf16": gigabytes}, estimated=True
    )


def _precision(container: EngineContainer, model: Model) -> str:
    told = " ".join(
        filter(None, (container.option("--quantization", "-q"), container.model, container.served_model_name))
    )
    for precision, mark in _PRECISION_MARKS:
        if mark.search(told) and precision in model.weights_gigabytes:
            return precision
    return "bf16" if "bf16" in model.weights_gigabytes else next(iter(model.weights_gigabytes))


def _utilization(container: EngineContainer) -> float:
    told = _number(container.option("--gpu-memory-utilization", "--mem-fraction-static"))
    if told is not None:
        return told
    return 0.92 if container.version is None or container.version >= _UTILIZATION_CHANGED else 0.9


def _overhead_gigabytes(container: EngineContainer, facts: Catalog) -> float:
    """What a GPU holds beside weights and KV cache, within the share that the engine may use.

    SGLang's `--mem-fraction-static` is the share of weights and KV cache alone (`arg_groups/memory_hook.py`).
    """
    if container.option("--mem-fraction-static") is not None:
        return 0.0
    return float((facts.engines.get(container.engine) or facts.engines["vllm"])["gpuOverheadGigabytes"])


def _is_eager(container: EngineContainer) -> bool:
    """Whether it is told to compile nothing and to capture no CUDA graphs."""
    if container.option("--enforce-eager", "--disable-cuda-graph") is not None:
        return True
    return container.option("--cuda-graph-backend-decode") == "disabled"


def _brings_weights(init_container: Mapping[str, Any]) -> bool:
    """Whether an init container speaks of models or downloads: then the engine finds its weights there."""
    return bool(_WEIGHTS_MARK.search(str({key: init_container.get(key) for key in ("command", "args", "env")})))


def _has_compile_cache(container: EngineContainer) -> bool:
    """Whether the engine's cache directory lies on a volume that outlives the pod."""
    root = str(container.environment.get("VLLM_CACHE_ROOT") or container.environment.get("SGLANG_CACHE_DIR") or "")
    claims = {each.get("name") for each in container.pod.spec.get("volumes") or [] if "persistentVolumeClaim" in each}
    return bool(root) and any(
        root.startswith(str(each.get("mountPath"))) and each.get("name") in claims
        for each in container.container.get("volumeMounts") or []
    )


def _node_family(release: Release) -> str | None:
    """Operating system with parallel image pull that the release's only node class asks for."""
    for document in release.of_kind("EC2NodeClass"):
        alias = str(dig(document.body, "spec", "amiSelectorTerms", 0, "alias", default=""))
        family = alias.partition("@")[0] or str(document.get("spec", "amiFamily", default="")).lower()
        user_data = str(document.get("spec", "userData", default=""))
        if family == "bottlerocket" and 'snapshotter = "soci"' in user_data:
            return "bottlerocket"
        if family == "al2023" and _fast_image_pull(user_data):
            return "al2023"
    return None


def _fast_image_pull(user_data: str) -> bool:
    try:
        config: Mapping[str, Any] = yaml.safe_load(user_data)
    except yaml.YAMLError:
        return "FastImagePull: true" in user_data
    return bool(dig(config, "spec", "featureGates", "FastImagePull", default=False))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
