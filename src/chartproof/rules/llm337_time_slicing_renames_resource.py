"""LLM337."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import yaml

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._nodes import user_data_of
from chartproof.rules.registry import Context, rule
from chartproof.scheduling import gpu_pods


@rule(id="LLM337", name="time-slicing-renames-resource", severity=Severity.ERROR, kinds=("EC2NodeClass", "ConfigMap"))
def time_slicing_renames_resource(document: Document, context: Context) -> Iterator[Finding]:
    """GPU sharing renames the resource that the pods ask for.

    What:
        Bottlerocket user data turns on time slicing or MPS without `rename-by-default = false`, or a device
        plugin's configuration sets `renameByDefault: true`. A warning where the release has no pod that asks
        for `nvidia.com/gpu`.

    Why it hurts:
        Nodes then offer `nvidia.com/gpu.shared` and no `nvidia.com/gpu`. Karpenter launches a node for the pod,
        waits for a resource that never comes, and the pod stays Pending on a paid node.

    Bad:
        `device-sharing-strategy = "time-slicing"` alone

    Good:
        also `rename-by-default = false` in `[settings.kubelet-device-plugins.nvidia.time-slicing]`

    References:
        https://bottlerocket.dev/en/os/latest/#/api/settings/kubelet-device-plugins/
        https://github.com/NVIDIA/k8s-device-plugin#shared-access-to-gpus
    """
    for path, what in _renaming(document):
        found = context.finding(
            document,
            f"{what}: nodes offer nvidia.com/gpu.shared, pods ask for nvidia.com/gpu",
            path=path,
            hint="set rename-by-default = false (renameByDefault: false)",
        )
        yield found if gpu_pods(context.release) else replace(found, severity=Severity.WARNING)


def _renaming(document: Document) -> Iterator[tuple[str, str]]:
    data = user_data_of(document) if document.kind == "EC2NodeClass" else None
    if data is not None:
        nvidia = ("kubelet-device-plugins", "nvidia")
        strategy = data.get(*nvidia, "device-sharing-strategy")
        if strategy in {"time-slicing", "mps"} and data.get(*nvidia, strategy, "rename-by-default") is not False:
            yield "spec.userData", f"{strategy} renames the resource by default"
        return
    for key, text in (document.get("data", default={}) or {}).items():
        if "renameByDefault" not in str(text):
            continue
        try:
            loaded = yaml.safe_load(str(text))
        except yaml.YAMLError:
            continue
        for sharing in ("timeSlicing", "mps"):
            if dig(loaded, "sharing", sharing, "renameByDefault") is True:
                yield f"data.{key}", f"sharing.{sharing} renames the resource"
