"""LLM318."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.bottlerocket import BottlerocketError, parse_user_data
from chartproof.pool import NodeClass
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM318", name="user-data-broken-toml", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def user_data_broken_toml(document: Document, context: Context) -> Iterator[Finding]:
    """User data of a node class is not in the language of its operating system.

    What:
        `userData` of a Bottlerocket class is no valid TOML (a quote or bracket too few, a key or table given
        twice, YAML), or that of an AL2023 class is Bottlerocket's TOML.

    Why it hurts:
        The API server takes any text. Every launch of the pool fails afterwards, or the node never joins.

    Bad:
        `max-pods = "110`

    Good:
        `max-pods = 110`

    References:
        https://bottlerocket.dev/en/os/latest/#/api/settings-index/
        https://karpenter.sh/docs/concepts/nodeclasses/#specuserdata
    """
    node_class = NodeClass(document)
    text = node_class.user_data
    if node_class.family == "bottlerocket" and text.strip():
        try:
            parse_user_data(text)
        except BottlerocketError as problem:
            yield context.finding(
                document,
                f"user data is no TOML: {problem}",
                path="spec.userData",
                hint="Bottlerocket reads TOML, with every table below settings",
            )
    elif node_class.family == "al2023" and re.match(r"\s*\[settings[.\]]", text):
        yield context.finding(
            document,
            "user data is Bottlerocket's TOML, the images are AL2023's",
            path="spec.userData",
            hint="write a NodeConfig (apiVersion: node.eks.aws/v1alpha1), or use a bottlerocket alias",
        )
