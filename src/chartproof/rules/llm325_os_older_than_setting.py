"""LLM325."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chartproof.findings import Finding, Severity
from chartproof.languages.bottlerocket import setting_facts
from chartproof.pool import NodeClass
from chartproof.release import Document, dig
from chartproof.rules._nodes import operating_systems, user_data_of
from chartproof.rules.registry import Context, rule
from chartproof.versions import format_version, parse_version

#: Karpenter's RAID0 policy uses bootstrap commands, which Bottlerocket has since this version.
_RAID0_SINCE = (1, 22, 0)


@rule(id="LLM325", name="os-older-than-setting", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def os_older_than_setting(document: Document, context: Context) -> Iterator[Finding]:
    """The pinned image is older than a feature that the node class uses, or known to be broken.

    What:
        Bottlerocket user data uses a setting that came after the pinned version, RAID0 is asked of a version
        without bootstrap commands (or of one that leaves SOCI's data on EBS: a warning), FastImagePull of an
        AL2023 image that lacks it, or the pinned version is one that no node becomes ready with.

    Why it hurts:
        Bottlerocket does not boot with a setting it does not know. Nothing tells before the first launch.

    Bad:
        `alias: bottlerocket@v1.40.0` with `snapshotter = "soci"`

    Good:
        `alias: bottlerocket@v1.64.0`

    References:
        https://github.com/bottlerocket-os/bottlerocket/blob/develop/CHANGELOG.md
        https://github.com/awslabs/amazon-eks-ami/issues/2712
    """
    node_class = NodeClass(document)
    facts = dig(operating_systems(), "operatingSystems", node_class.family, default={})
    pinned = node_class.version_text
    alias = "spec.amiSelectorTerms"
    if not pinned or not facts:
        return
    broken = dig(facts, "broken", pinned)
    if broken:
        yield context.finding(
            document,
            f"{node_class.family} {pinned}: {broken}",
            path=alias,
            hint=f"pin another version, such as {facts.get('amiVersion') or facts.get('versionExample')}",
        )
    if node_class.family == "al2023":
        since = str(facts.get("parallelPullSince", ""))
        if "FastImagePull" in node_class.user_data and pinned < since:
            yield context.finding(
                document,
                f"FastImagePull came with v{since}, the image is v{pinned}",
                path=alias,
                hint=f"pin v{since} or newer",
            )
        return
    version = node_class.version
    if version is None:
        return
    data = user_data_of(document)
    for setting in data.settings if data is not None else ():
        known = setting_facts(setting.path)
        if known is not None and known.since > version:
            yield context.finding(
                document,
                f"{setting} came with Bottlerocket {format_version(known.since)}, the image is {pinned}",
                path="spec.userData",
                hint=f"pin {format_version(known.since)} or newer",
            )
    if node_class.raid0 and version < _RAID0_SINCE:
        yield context.finding(
            document,
            f"RAID0 needs Bottlerocket {format_version(_RAID0_SINCE)}, the image is {pinned}",
            path="spec.instanceStorePolicy",
            hint="pin a newer version",
        )
    stays = parse_version(str(facts.get("instanceStorePullSince", "")))
    chosen = data is not None and data.get("container-runtime", "snapshotter") == "soci"
    if node_class.raid0 and chosen and stays is not None and _RAID0_SINCE <= version < stays:
        found = context.finding(
            document,
            f"before Bottlerocket {format_version(stays)} RAID0 leaves SOCI's data on the EBS volume",
            path="spec.instanceStorePolicy",
            hint=f"pin {format_version(stays)} or newer",
        )
        yield replace(found, severity=Severity.WARNING)
