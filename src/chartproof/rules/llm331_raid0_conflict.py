"""LLM331."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.pool import NodeClass
from chartproof.release import Document
from chartproof.rules._nodes import gpu_pools_with, user_data_of
from chartproof.rules.registry import Context, rule


@rule(id="LLM331", name="raid0-conflict", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def raid0_conflict(document: Document, context: Context) -> Iterator[Finding]:
    """RAID0 of the instance store meets something that it excludes.

    What:
        `instanceStorePolicy: RAID0` stands beside user data that sets up the ephemeral storage itself, beside a
        data volume made from a snapshot, or in a class whose pools allow types without NVMe disks (a warning
        where only some lack them).

    Why it hurts:
        Two commands format the same disks and the boot fails; images preloaded in the snapshot are hidden
        behind the RAID; types without disks silently fall back to the EBS volume, which was sized for less.

    Bad:
        RAID0 and `[settings.bootstrap-commands.k8s-ephemeral-storage]`

    Good:
        RAID0 alone, with `karpenter.k8s.aws/instance-local-nvme Gt "100"` in the pool

    References:
        https://karpenter.sh/docs/concepts/nodeclasses/#specinstancestorepolicy
    """
    node_class = NodeClass(document)
    if not node_class.raid0:
        return
    data = user_data_of(document)
    for setting in data.settings if data is not None else ():
        if setting.group == "bootstrap-commands" and "ephemeral-storage" in str(setting.value):
            yield context.finding(
                document,
                f"{setting} sets up the ephemeral storage that RAID0 sets up too",
                path="spec.userData",
                hint="remove the bootstrap command, or the policy",
            )
    volume = node_class.volumes.get(node_class.data_device, {})
    if volume.get("snapshotID"):
        yield context.finding(
            document,
            f"images preloaded by snapshot {volume['snapshotID']} are hidden behind the RAID0",
            path="spec.blockDeviceMappings",
            hint="drop the snapshot, or the policy",
        )
    for pool in gpu_pools_with(document, context.release):
        without = [each.name for each in pool.gpu_instances if not each.nvme_gigabytes]
        if not without:
            continue
        found = context.finding(
            document,
            f"NodePool {pool.name!r} allows {', '.join(without[:3])}, which have no NVMe disks for RAID0",
            path="spec.instanceStorePolicy",
            hint='require karpenter.k8s.aws/instance-local-nvme Gt "100" in the pool',
        )
        every = len(without) == len(pool.gpu_instances)
        yield found if every else replace(found, severity=Severity.WARNING)
