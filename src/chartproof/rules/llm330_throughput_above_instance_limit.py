"""LLM330."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules._nodes import gpu_pools_with, throughput_of
from chartproof.rules.registry import Context, rule

#: Volumes are sold in round figures; this much above the limit is not worth a word.
_TOLERANCE = 1.25
_MEBIBYTES_PER_MEGABIT = 1e6 / 8 / 1024**2


@rule(id="LLM330", name="throughput-above-instance-limit", severity=Severity.WARNING, kinds=("EC2NodeClass",))
def throughput_above_instance_limit(document: Document, context: Context) -> Iterator[Finding]:
    """A volume is paid for more throughput than any instance of the pool can use.

    What:
        Throughput of a volume is more than a quarter above the EBS limit of the best instance type that the
        pools using the class allow.

    Why it hurts:
        Smaller GPU types stop at 3.5 to 5 Gbit/s (about 420 to 600 MiB/s): the rest is money for nothing, and
        the image pull is not as fast as planned.

    Bad:
        `throughput: 1000` for a pool of g5.xlarge and g5.2xlarge

    Good:
        `throughput: 400`, or RAID0 over the instance's NVMe disks

    References:
        https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html
    """
    pools = gpu_pools_with(document, context.release)
    types = [each for pool in pools for each in pool.gpu_instances]
    if not types or any(pool.names_unknown_types or not pool.gpu_only for pool in pools):
        return
    best = max(types, key=lambda each: each.ebs_mbps)
    limit = best.ebs_mbps * _MEBIBYTES_PER_MEGABIT
    for i, mapping in enumerate(document.get("spec", "blockDeviceMappings", default=[]) or []):
        asked = throughput_of(dig(mapping, "ebs", default={}))
        if asked is not None and asked[0] > limit * _TOLERANCE:
            yield context.finding(
                document,
                f"{asked[0]:g} MiB/s, but {best.name}, the best type of the pools, reaches {limit:.0f} MiB/s over EBS",
                path=f"spec.blockDeviceMappings[{i}].ebs.throughput",
                hint=f"write {limit:.0f}, or allow larger types",
            )
