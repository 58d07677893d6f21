"""The same model by every delivery, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from chartproof.plan.cold_start import ColdStart, load_seconds, transfer_seconds
from chartproof.plan.workload_plan import WorkloadPlan

#: What each delivery is, as a table's reader knows it.
TITLES = {
    "huggingface": "Hugging Face to local disk",
    "initDownload": "S3 to local NVMe",
    "stream": "S3 streamed to the GPU",
    "volume": "EFS volume",
    "fsx": "FSx for Lustre volume",
    "nvme": "already on local NVMe",
    "image": "baked into the image",
}


@dataclass(frozen=True, slots=True)
class DeliveryPlan:
    """One delivery for `replicas` that start at once: seconds of transfer, load, and the whole start."""

    delivery: str
    title: str
    transfer_seconds: float
    load_seconds: float
    cold_start: ColdStart


def compare_deliveries(plan: WorkloadPlan, *, replicas: int) -> list[DeliveryPlan]:
    """Every delivery of the catalog for this workload, fastest cold start first."""
    found = []
    for delivery, title in TITLES.items():
        instance = plan.slowest_instance
        found.append(
            DeliveryPlan(
                delivery,
                title,
                transfer_seconds(
                    plan.facts, delivery, plan.weights_gigabytes, instance, replicas=replicas * plan.nodes
                ),
                load_seconds(plan.facts, delivery, plan.weights_gigabytes, instance, replicas=replicas * plan.nodes),
                plan.cold_start_on(instance, replicas=replicas, delivery=delivery),
            )
        )
    return sorted(found, key=lambda each: each.cold_start.seconds)
