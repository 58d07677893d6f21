"""LLM333."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._nodes import ACCELERATED_FAMILIES, gpu_families
from chartproof.rules.registry import Context, rule


@rule(id="LLM333", name="operator-driver-on-accelerated-image", severity=Severity.ERROR, kinds=("ClusterPolicy",))
def operator_driver_on_accelerated_image(document: Document, context: Context) -> Iterator[Finding]:
    """The GPU Operator installs a driver or toolkit that the node image already has.

    What:
        A ClusterPolicy leaves `driver.enabled` or `toolkit.enabled` on (the default), while GPU nodes run an
        EKS accelerated image.

    Why it hurts:
        Two drivers collide: the driver container cannot unload the running module and stays in a crash loop,
        and no GPU becomes available.

    Bad:
        `driver: {enabled: true}`

    Good:
        `driver: {enabled: false}` and `toolkit: {enabled: false}`

    References:
        https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/amazon-eks.html
    """
    families = sorted(gpu_families(context.release) & (ACCELERATED_FAMILIES - {"bottlerocket"}))
    if not families:
        return
    for part in ("driver", "toolkit"):
        if document.get("spec", part, "enabled", default=True) is not False:
            yield context.finding(
                document,
                f"{part} is on, and the GPU nodes' {families[0]} images come with NVIDIA's {part}",
                path=f"spec.{part}.enabled",
                hint="write false",
            )
