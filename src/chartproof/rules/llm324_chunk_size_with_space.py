"""LLM324."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.bottlerocket import size_problem
from chartproof.release import Document
from chartproof.rules._nodes import user_data_of
from chartproof.rules.registry import Context, rule


@rule(id="LLM324", name="chunk-size-with-space", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def chunk_size_with_space(document: Document, context: Context) -> Iterator[Finding]:
    """A byte size of Bottlerocket is written in a form that it does not read.

    What:
        `concurrent-download-chunk-size` has a space between number and unit, or is no size at all.

    Why it hurts:
        The settings model refuses the value and the node does not boot; Karpenter deletes it after 15 minutes
        and tries again.

    Bad:
        `concurrent-download-chunk-size = "16 mb"`

    Good:
        `concurrent-download-chunk-size = "16mb"`

    References:
        https://bottlerocket.dev/en/os/latest/#/api/settings/container-runtime-plugins/
    """
    data = user_data_of(document)
    for setting in data.settings if data is not None else ():
        problem = size_problem(setting)
        if problem:
            yield context.finding(
                document,
                f"{setting}: {problem}",
                path="spec.userData",
                hint=f"write {''.join(str(setting.value).split()).lower()!r}",
            )
