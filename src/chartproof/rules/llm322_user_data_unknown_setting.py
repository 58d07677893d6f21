"""LLM322."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import yaml

from chartproof.findings import Finding, Severity
from chartproof.languages.bottlerocket import is_known_group, setting_facts, similar_setting
from chartproof.pool import NodeClass
from chartproof.release import Document, dig
from chartproof.rules._nodes import user_data_of
from chartproof.rules.registry import Context, rule

#: The settings reference is complete up to here; later versions may know more.
_REFERENCE = (1, 57, 0)
#: Feature gates of AL2023's NodeConfig. Source: amazon-eks-ami, nodeadm/api/v1alpha1.
_FEATURE_GATES = frozenset({"FastImagePull", "InstanceIdNodeName"})


@rule(id="LLM322", name="user-data-unknown-setting", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def user_data_unknown_setting(document: Document, context: Context) -> Iterator[Finding]:
    """User data names a setting that the operating system does not have.

    What:
        A Bottlerocket setting outside `settings.kubernetes` is not in its settings reference, or a feature gate
        of AL2023's NodeConfig does not exist (the parallel image pull is `FastImagePull`).

    Why it hurts:
        Bottlerocket refuses unknown settings at boot and the node never joins; Karpenter passes them on.
        AL2023's node setup stops on an invalid NodeConfig.

    Bad:
        `[settings.container-runtime]` with `snapshoter = "soci"`

    Good:
        `[settings.container-runtime]` with `snapshotter = "soci"`

    References:
        https://bottlerocket.dev/en/os/latest/#/api/settings-index/
        https://github.com/awslabs/amazon-eks-ami/blob/main/nodeadm/doc/api.md
    """
    data = user_data_of(document)
    version = NodeClass(document).version
    for setting in data.settings if data is not None else ():
        if setting.group == "kubernetes" or setting_facts(setting.path) is not None:
            continue
        similar = similar_setting(setting.path)
        if version is not None and version > _REFERENCE and not similar and not is_known_group(setting.group):
            continue
        yield context.finding(
            document,
            f"Bottlerocket has no setting {setting}: the node does not boot with it",
            path="spec.userData",
            hint=f"write {similar}" if similar else "remove it",
        )
    for gate in _feature_gates(document):
        if gate not in _FEATURE_GATES:
            yield context.finding(
                document,
                f"AL2023 has no feature gate {gate}",
                path="spec.userData",
                hint=f"known are: {', '.join(sorted(_FEATURE_GATES))}",
            )


def _feature_gates(document: Document) -> Iterator[str]:
    """Names of the feature gates that the NodeConfigs in AL2023 user data (plain or MIME parts) set."""
    node_class = NodeClass(document)
    if node_class.family != "al2023":
        return
    for part in re.split(r"^--.*$", node_class.user_data, flags=re.MULTILINE):
        start = part.find("apiVersion: node.eks.aws/")
        if start < 0:
            continue
        try:
            loaded = yaml.safe_load(part[start:])
        except yaml.YAMLError:
            continue
        gates = dig(loaded, "spec", "featureGates", default={})
        yield from (str(name) for name in (gates if isinstance(gates, Mapping) else ()))
