"""LLM207."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.cron import is_timezone, similar_timezone
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


@rule(id="LLM207", name="unknown-timezone", severity=Severity.ERROR, kinds=("ScaledObject",))
def unknown_timezone(document: Document, context: Context) -> Iterator[Finding]:
    """The timezone of a cron trigger does not exist.

    What:
        `timezone` of a cron trigger is not a name of the IANA database. Case matters, and abbreviations such as
        PDT are no names.

    Why it hurts:
        The trigger fails at every poll, and one failing trigger freezes all triggers: no scaling up, none down,
        and zero stays zero.

    Bad:
        `timezone: Europe/Muenchen`

    Good:
        `timezone: Europe/Berlin`

    References:
        https://keda.sh/docs/latest/scalers/cron/
        https://www.iana.org/time-zones
    """
    for trigger in view(document, context).triggers:
        name = trigger.metadata.get("timezone", "")
        if not trigger.is_cron or not name or is_timezone(name):
            continue
        similar = similar_timezone(name)
        yield context.finding(
            document,
            f"{trigger.label}: {name!r} is no timezone of the IANA database",
            path=f"{trigger.path}.metadata.timezone",
            hint=f"write {similar}" if similar else "write a name such as Europe/Berlin or Etc/UTC",
        )
