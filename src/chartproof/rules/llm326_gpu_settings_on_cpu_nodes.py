"""LLM326."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.bottlerocket import gpu_only
from chartproof.pool import pools_with
from chartproof.release import Document
from chartproof.rules._nodes import user_data_of
from chartproof.rules.registry import Context, rule


@rule(id="LLM326", name="gpu-settings-on-cpu-nodes", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def gpu_settings_on_cpu_nodes(document: Document, context: Context) -> Iterator[Finding]:
    """Settings that only Bottlerocket's nvidia variants have are in a class that CPU nodes use too.

    What:
        User data sets `settings.kubelet-device-plugins` or `settings.nvidia-container-runtime`, and a pool of
        the release that uses the class also allows instance types without NVIDIA GPUs.

    Why it hurts:
        Karpenter picks the standard variant for types without GPU. It does not know these settings and never
        boots.

    Bad:
        one EC2NodeClass with `[settings.kubelet-device-plugins.nvidia]` for the GPU pool and the general pool

    Good:
        a class of its own for the general pool

    References:
        https://bottlerocket.dev/en/os/latest/#/api/settings/kubelet-device-plugins/
    """
    data = user_data_of(document)
    groups = sorted({each.group for each in data.settings if gpu_only(each.group)}) if data is not None else []
    if not groups:
        return
    for pool in pools_with(document, context.release):
        if not pool.gpu_only:
            yield context.finding(
                document,
                f"settings.{groups[0]} exists only on the nvidia variant, and NodePool {pool.name!r} also makes nodes "
                "without GPU, which never boot with it",
                path="spec.userData",
                hint="give that pool a node class without GPU settings",
            )
