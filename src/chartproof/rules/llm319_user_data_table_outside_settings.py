"""LLM319."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document
from chartproof.rules._nodes import user_data_of
from chartproof.rules.registry import Context, rule


@rule(id="LLM319", name="user-data-table-outside-settings", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def user_data_table_outside_settings(document: Document, context: Context) -> Iterator[Finding]:
    """A table of Bottlerocket user data does not stand below `settings`.

    What:
        User data has top-level tables or keys other than `settings`.

    Why it hurts:
        Karpenter drops them without a word. The node boots without what was configured, such as SOCI.

    Bad:
        `[container-runtime]`

    Good:
        `[settings.container-runtime]`

    References:
        https://karpenter.sh/docs/concepts/nodeclasses/#bottlerocket-2
    """
    data = user_data_of(document)
    for name in data.strays if data is not None else ():
        yield context.finding(
            document,
            f"[{name}] does not stand below settings: Karpenter drops it silently",
            path="spec.userData",
            hint=f"write [settings.{name}]",
        )
