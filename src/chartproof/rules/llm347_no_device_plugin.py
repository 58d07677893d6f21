"""LLM347."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.pool import pool_of
from chartproof.release import Document, dig
from chartproof.rules._nodes import device_plugin_sources, gpu_agent, gpu_operators, operating_systems
from chartproof.rules.registry import Context, rule


@rule(id="LLM347", name="no-device-plugin", severity=Severity.ERROR, kinds=("NodePool",))
def no_device_plugin(document: Document, context: Context) -> Iterator[Finding]:
    """GPU nodes whose operating system has no device plugin, and nothing brings one.

    What:
        A GPU pool makes AL2023 nodes, and the release has no device plugin. An error where the release brings
        other NVIDIA node software (dcgm-exporter, GPU Feature Discovery, the operator with its plugin off) and
        so manages these nodes; else a note, because the plugin may be installed by another release.

    Why it hurts:
        The nodes offer no `nvidia.com/gpu`: pods stay Pending while the nodes are paid for. Karpenter waits for
        the resource without an end.

    Bad:
        an AL2023 GPU pool and a dcgm-exporter, no device plugin

    Good:
        also NVIDIA's k8s-device-plugin, or a Bottlerocket node class

    References:
        https://docs.aws.amazon.com/eks/latest/userguide/eks-optimized-ami.html#gpu-ami
        https://github.com/NVIDIA/k8s-device-plugin
    """
    pool = pool_of(document, context.release)
    if not pool.gpu_only or pool.node_class is None or pool.auto_mode:
        return
    brings = dig(operating_systems(), "operatingSystems", pool.node_class.family, "bringsDevicePlugin")
    if brings is not False or any(True for _ in device_plugin_sources(context.release)):
        return
    managed = any(gpu_agent(each) for each in context.release.documents) or bool(gpu_operators(context.release))
    found = context.finding(
        document,
        f"{pool.node_class.family} images have no device plugin, and the release brings none: nodes offer no GPU",
        path="spec.template.spec.nodeClassRef",
        hint="install NVIDIA's device plugin, or use bottlerocket",
    )
    yield found if managed else replace(found, severity=Severity.NOTE)
