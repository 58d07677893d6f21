"""LLM008."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule


@rule(id="LLM008", name="floating-ami-alias", severity=Severity.WARNING, kinds=("EC2NodeClass",))
def floating_ami_alias(document: Document, context: Context) -> Iterator[Finding]:
    """A node class follows the newest machine image.

    What:
        An alias in `amiSelectorTerms` ends in `@latest`.

    Why it hurts:
        A new image means drift: Karpenter replaces every GPU node of the pool, whenever AWS publishes
        one, and the new driver meets production first.

    Bad:
        `alias: bottlerocket@latest`

    Good:
        `alias: bottlerocket@v1.62.1`

    References:
        https://karpenter.sh/docs/tasks/managing-amis/
    """
    for i, term in enumerate(document.get("spec", "amiSelectorTerms", default=[]) or []):
        alias = str(dig(term, "alias", default=""))
        if alias.endswith("@latest"):
            yield context.finding(
                document,
                f"the alias {alias!r} moves with every release of the image and drifts all nodes",
                path=f"spec.amiSelectorTerms[{i}].alias",
                hint=f"pin a release, such as {alias.removesuffix('latest')}<version>",
            )
