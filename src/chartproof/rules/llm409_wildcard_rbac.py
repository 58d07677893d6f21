"""LLM409."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule


@rule(id="LLM409", name="wildcard-rbac", severity=Severity.WARNING, kinds=("Role", "ClusterRole"))
def wildcard_rbac(document: Document, context: Context) -> Iterator[Finding]:
    """A role allows everything.

    What:
        A Role or ClusterRole has a rule with `*` for both verbs and resources, or any verb on secrets of all
        groups.

    Why it hurts:
        Whatever runs with it (an exporter, a downloader) can read every Secret and change every workload.

    Bad:
        `{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}`

    Good:
        the resources and verbs that are used

    References:
        https://kubernetes.io/docs/concepts/security/rbac-good-practices/
    """
    for i, each in enumerate(document.get("rules", default=[]) or []):
        verbs, resources = dig(each, "verbs", default=[]) or [], dig(each, "resources", default=[]) or []
        if "*" in verbs and ("*" in resources or "secrets" in resources):
            what = "everything" if "*" in resources else "every Secret"
            yield context.finding(
                document,
                f"allows every verb on {what}",
                path=f"rules[{i}]",
                hint="name the resources and verbs that are needed",
            )
