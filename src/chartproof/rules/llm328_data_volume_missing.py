"""LLM328."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.pool import NodeClass
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM328", name="data-volume-missing", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def data_volume_missing(document: Document, context: Context) -> Iterator[Finding]:
    """Block device mappings leave out a volume that the operating system needs.

    What:
        A Bottlerocket class lists `blockDeviceMappings` without /dev/xvdb (images and pods), or an AL2023 class
        without /dev/xvda. A note where only Bottlerocket's system volume /dev/xvda is left to the image.

    Why it hurts:
        The list replaces Karpenter's defaults, and what it leaves out has the image's own size: 20 GiB for
        images and pods. A large /dev/xvda does not help Bottlerocket, which keeps only the system there.

    Bad:
        `blockDeviceMappings: [{deviceName: /dev/xvda, ebs: {volumeSize: 200Gi}}]` with Bottlerocket

    Good:
        /dev/xvda with 8Gi and /dev/xvdb with 200Gi

    References:
        https://karpenter.sh/docs/concepts/nodeclasses/#bottlerocket-1
    """
    node_class = NodeClass(document)
    needed = {"bottlerocket": ("/dev/xvda", "/dev/xvdb"), "al2023": ("/dev/xvda",), "al2": ("/dev/xvda",)}
    if not node_class.volumes:
        return
    for device in needed.get(node_class.family, ()):
        if device not in node_class.volumes:
            data = device == node_class.data_device
            found = context.finding(
                document,
                f"blockDeviceMappings has no {device}, the volume of {'images and pods' if data else 'the system'}",
                path="spec.blockDeviceMappings",
                hint=f"add {{deviceName: {device}, ebs: {{volumeSize: ..., volumeType: gp3}}}}",
            )
            yield found if data else replace(found, severity=Severity.NOTE)
