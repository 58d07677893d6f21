"""The cold start of a replica, phase by phase.

Phases and their sources are those of `files/catalog/engines.yaml`: one measured run on EKS and
published pull and load speeds. They are plans, not promises; spot shortages come on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.catalog import Catalog, Instance

#: Bits of a network megabit figure per byte, for Mbps to MB/s.
_BITS_PER_BYTE = 8
#: Longest wait of the HPA or of KEDA's poll before a replica is asked for.
REACTION_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Phase:
    """One step of the start.

    `in_container`: it happens after the engine's container started, so the startup probe must
    allow for it.
    """

    name: str
    seconds: float
    in_container: bool = False


@dataclass(frozen=True, slots=True)
class ColdStart:
    """All phases, in order, from the signal to a ready replica on a node that does not exist yet."""

    phases: tuple[Phase, ...]

    @property
    def seconds(self) -> float:
        """From the signal to ready, on a fresh node."""
        return sum(each.seconds for each in self.phases)

    @property
    def in_container_seconds(self) -> float:
        """What the startup probe must allow: reading weights and engine start."""
        return sum(each.seconds for each in self.phases if each.in_container)

    @property
    def warm_node_seconds(self) -> float:
        """The same on a node that is there and has the image."""
        skipped = {"node claim", "boot", "GPU registration", "image pull"}
        return sum(each.seconds for each in self.phases if each.name not in skipped)


def network_megabytes_per_second(instance: Instance | None) -> float:
    """Baseline network of an instance in MB/s; without one, unlimited."""
    return instance.network_mbps / _BITS_PER_BYTE if instance else float("inf")


def transfer_seconds(
    catalog: Catalog, delivery: str, weights_gigabytes: float, instance: Instance | None, *, replicas: int = 1
) -> float:
    """Seconds until weights are on the host (or the GPU) when that many replicas start at once."""
    facts = catalog.deliveries[delivery]
    if facts.get("local"):
        return 0.0
    speed = min(float(facts["megabytesPerSecond"]), network_megabytes_per_second(instance))
    if "sharedMegabytesPerSecond" in facts:
        speed = min(speed, facts["sharedMegabytesPerSecond"] / replicas)
    return weights_gigabytes * 1000 / speed


def load_seconds(
    catalog: Catalog, delivery: str, weights_gigabytes: float, instance: Instance | None, *, replicas: int = 1
) -> float:
    """Seconds the engine itself reads weights: over the network, or from local disk after a download."""
    facts = catalog.deliveries[delivery]
    if facts.get("thenDisk") or facts.get("local"):
        return weights_gigabytes * 1000 / catalog.nvme_megabytes_per_second
    return transfer_seconds(catalog, delivery, weights_gigabytes, instance, replicas=replicas)


def cold_start(
    catalog: Catalog,
    *,
    engine: str,
    weights_gigabytes: float,
    delivery: str,
    instance: Instance | None,
    image_gigabytes: float,
    node_family: str | None,
    downloads_in_container: bool = False,
    eager: bool = False,
    compile_cache: bool = False,
    engine_start_seconds: float | None = None,
    replicas: int = 1,
) -> ColdStart:
    """Plan the phases.

    `node_family` is `bottlerocket`, `al2023` (both with parallel pull) or None for a plain node.
    `downloads_in_container` is true where the engine fetches from a hub by itself, so that the
    startup probe has to wait for it. `engine_start_seconds` takes the place of the catalog's process start and
    initialisation.
    """
    node: Mapping[str, Any] = catalog.node
    pull_speed = {
        "bottlerocket": catalog.image_pull["bottlerocketSociMegabytesPerSecond"],
        "al2023": catalog.image_pull["al2023SociMegabytesPerSecond"],
    }.get(node_family or "", catalog.image_pull["plainMegabytesPerSecond"])
    registration = node["registerGpuSeconds"]
    start = _start_facts(catalog, engine)
    initialise = (
        start["initialiseEager"] if eager else start["initialiseCached"] if compile_cache else start["initialise"]
    )
    process = float(start["process"])
    if engine_start_seconds is not None:
        process = min(process, engine_start_seconds)
        initialise = engine_start_seconds - process
    facts = catalog.deliveries[delivery]
    pulled = image_gigabytes + (weights_gigabytes if facts.get("withImage") else 0.0)
    phases = [
        Phase("reaction", REACTION_SECONDS),
        Phase("node claim", float(node["nodeClaimSeconds"])),
        Phase("boot", float(node["bootSeconds"])),
        Phase("GPU registration", float(registration.get(node_family or "al2023", registration["al2023"]))),
        Phase("image pull", pulled * 1000 / pull_speed),
        Phase("container start", float(node["containerStartSeconds"])),
    ]
    if facts.get("thenDisk"):
        seconds = transfer_seconds(catalog, delivery, weights_gigabytes, instance, replicas=replicas)
        phases.append(Phase("weights download", seconds, in_container=downloads_in_container))
    phases += [
        Phase("process start", process, in_container=True),
        Phase(
            "weights load",
            load_seconds(catalog, delivery, weights_gigabytes, instance, replicas=replicas),
            in_container=True,
        ),
        Phase("engine initialisation", float(initialise), in_container=True),
    ]
    return ColdStart(tuple(phases))


def _start_facts(catalog: Catalog, engine: str) -> Mapping[str, float]:
    facts = catalog.engines.get(engine) or catalog.engines["vllm"]
    seconds: Mapping[str, float] = facts["startSeconds"]
    return seconds
