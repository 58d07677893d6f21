"""LLM320."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.bottlerocket import dropped_by_karpenter, setting_facts, similar_setting
from chartproof.release import Document
from chartproof.rules._nodes import user_data_of
from chartproof.rules.registry import Context, rule


@rule(id="LLM320", name="user-data-key-dropped-by-karpenter", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def user_data_key_dropped_by_karpenter(document: Document, context: Context) -> Iterator[Finding]:
    """A setting of `settings.kubernetes` that Karpenter leaves out.

    What:
        User data sets a key of `settings.kubernetes` that is not in the list by which Karpenter rewrites this
        table.

    Why it hurts:
        Karpenter logs an error and launches the node without the setting. Bottlerocket would have taken it, so
        nobody notices.

    Bad:
        `[settings.kubernetes]` with `max-parallel-image-pulls = 4`

    Good:
        leave the key out; image pulls are parallel by default

    References:
        https://github.com/aws/karpenter-provider-aws/blob/main/pkg/providers/amifamily/bootstrap/bottlerocketsettings.go
    """
    data = user_data_of(document)
    for setting in data.settings if data is not None else ():
        if dropped_by_karpenter(setting):
            known = setting_facts(setting.path) is not None
            similar = "" if known else similar_setting(setting.path)
            yield context.finding(
                document,
                f"Karpenter 1.14 leaves {setting} out of the user data it writes",
                path="spec.userData",
                hint=f"write {similar}" if similar else "remove it: the node never gets it",
            )
