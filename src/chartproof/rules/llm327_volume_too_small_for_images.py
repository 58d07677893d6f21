"""LLM327."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.languages.quantity import format_bytes
from chartproof.pool import NodeClass
from chartproof.release import Document
from chartproof.rules._nodes import engines_on, gpu_pools_with, largest_engine_image, makes_gpu_nodes, operating_systems
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import ephemeral_need
from chartproof.workload import engines_of

_GIGABYTE = 10**9


@rule(id="LLM327", name="volume-too-small-for-images", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def volume_too_small_for_images(document: Document, context: Context) -> Iterator[Finding]:
    """The volume for images and pods does not hold the engine's image and the weights.

    What:
        The data volume (/dev/xvdb on Bottlerocket, /dev/xvda on AL2023; 20 GiB where the class says nothing) is
        smaller than the unpacked image of the release's engines plus the emptyDirs of a pod. A warning where
        the release has no engine: a vLLM image is assumed. Nodes whose NVMe disks take over (RAID0) are left
        out.

    Why it hurts:
        The pull ends in "no space left on device", or the kubelet evicts the pod for disk pressure while it
        downloads.

    Bad:
        a GPU class without `blockDeviceMappings`

    Good:
        `{deviceName: /dev/xvdb, ebs: {volumeSize: 200Gi, volumeType: gp3}}`

    References:
        https://karpenter.sh/docs/concepts/nodeclasses/#specblockdevicemappings
    """
    node_class = NodeClass(document)
    if not makes_gpu_nodes(document, context.release) or node_class.family not in {"bottlerocket", "al2023", "al2"}:
        return
    pools = gpu_pools_with(document, context.release)
    types = [each for pool in pools for each in pool.gpu_instances]
    if node_class.raid0 and types and all(each.nvme_gigabytes for each in types):
        return
    if node_class.raid0 and not types:
        return
    size = node_class.data_bytes
    if size is None:
        return
    image = largest_engine_image(context.release) * _GIGABYTE * float(operating_systems()["imageUnpackFactor"])
    weights = max((ephemeral_need(each.pod) for each in engines_on(pools, context.release)), default=0)
    if size < image + weights:
        parts = f"the unpacked engine image takes about {format_bytes(image)}"
        if weights:
            parts += f", a pod's own storage {format_bytes(weights)}"
        found = context.finding(
            document,
            f"{node_class.data_device} has {format_bytes(size)}"
            + ("" if node_class.volumes else " (the default)")
            + f"; {parts}",
            path="spec.blockDeviceMappings",
            hint=f"give {node_class.data_device} at least {format_bytes(1.2 * (image + weights))}",
        )
        yield found if engines_of(context.release) else replace(found, severity=Severity.WARNING)
