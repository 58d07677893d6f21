"""Which model an engine serves, and which GPUs it may get, as far as the release says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from chartproof.catalog import Gpu, Instance, Model, catalog
from chartproof.plan.candidates import candidate_instances
from chartproof.release import Release, dig
from chartproof.workload import MODEL_ANNOTATION, EngineContainer, Version

_INSTANCE_KEYS = re.compile(r"instance-type$|instance-family$|instance-gpu-name$|gpu\.product$|accelerator$")


def model_of(engine: EngineContainer) -> Model | None:
    """The catalog's model that the engine serves, by annotation, model path or served name; None if unknown."""
    told = (engine.pod.annotations.get(MODEL_ANNOTATION), engine.model, engine.served_model_name)
    for text in told:
        found = catalog().find_model(str(text)) if text else None
        if found is not None:
            return found
    return None


def candidates(engine: EngineContainer, release: Release) -> tuple[Instance, ...]:
    """Instance types that the engine's pod may land on; empty where nothing says."""
    return candidate_instances(engine.pod, release, catalog(), gpus=max(1, engine.gpus))


def candidate_gpus(engine: EngineContainer, release: Release) -> list[Gpu]:
    """GPUs that the engine's pod may get, oldest architecture first; empty where nothing says."""
    names = {each.gpu for each in candidates(engine, release)}
    known = [catalog().gpus[name] for name in names if name in catalog().gpus]
    return sorted(known, key=lambda each: (each.compute_capability, each.name))


def chosen_hardware(engine: EngineContainer, release: Release) -> Iterator[str]:
    """Names of instance types, families and GPUs that the pod or a NodePool of the release asks for."""
    for key, value in (engine.pod.spec.get("nodeSelector") or {}).items():
        if _INSTANCE_KEYS.search(str(key)):
            yield str(value)
    terms = dig(
        engine.pod.spec,
        "affinity",
        "nodeAffinity",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "nodeSelectorTerms",
        default=[],
    )
    requirements: list[Any] = [each for term in terms for each in term.get("matchExpressions") or []]
    for pool in release.of_kind("NodePool"):
        requirements += pool.get("spec", "template", "spec", "requirements", default=[]) or []
    for each in requirements:
        if _INSTANCE_KEYS.search(str(dig(each, "key", default=""))) and dig(each, "operator") == "In":
            yield from (str(value) for value in each.get("values") or [])


def at_least(engine: EngineContainer, version: Version) -> bool:
    """Whether the engine's version is known and not older than `version`."""
    return engine.version is not None and engine.version >= version


def capability_text(gpu: Gpu) -> str:
    """Compute capability as NVIDIA writes it, e.g. 8.9."""
    return f"{gpu.compute_capability[0]}.{gpu.compute_capability[1]}"
