"""LLM332."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._nodes import gpu_families, gpu_operators
from chartproof.rules.registry import Context, rule


@rule(id="LLM332", name="gpu-operator-on-bottlerocket", severity=Severity.ERROR, kinds=("ClusterPolicy", "Deployment"))
def gpu_operator_on_bottlerocket(document: Document, context: Context) -> Iterator[Finding]:
    """NVIDIA's GPU Operator beside Bottlerocket nodes.

    What:
        The release runs the GPU Operator, and its GPU nodes run Bottlerocket.

    Why it hurts:
        The operator does not support Bottlerocket, whose nvidia variants come with driver, container toolkit
        and device plugin. Its operands crash, or fight with the host's device plugin.

    Bad:
        a ClusterPolicy beside `alias: bottlerocket@...`

    Good:
        no operator; a standalone dcgm-exporter for metrics

    References:
        https://github.com/NVIDIA/gpu-operator/issues/946
        https://github.com/bottlerocket-os/bottlerocket/issues/3992
    """
    if document in gpu_operators(context.release) and "bottlerocket" in gpu_families(context.release):
        yield context.finding(
            document,
            "the GPU Operator does not support Bottlerocket, which the release's GPU nodes run",
            hint="remove the operator (Bottlerocket has driver, toolkit and device plugin), or use AL2023 nodes",
        )
