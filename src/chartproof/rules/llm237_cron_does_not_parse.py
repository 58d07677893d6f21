"""LLM237."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.cron import CronError, Window, parse
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


@rule(id="LLM237", name="cron-does-not-parse", severity=Severity.ERROR, kinds=("ScaledObject",))
def cron_does_not_parse(document: Document, context: Context) -> Iterator[Finding]:
    """KEDA refuses the schedule of a cron trigger.

    What:
        `start` or `end` is no five-field cron of robfig/cron (no seconds, no weekday 7, no `L`, `W` or `#`, no
        `@daily`), both are equal, a date never comes, or `desiredReplicas` is no whole number above 0.

    Why it hurts:
        The trigger fails, and with it the whole ScaledObject: nothing scales.

    Bad:
        `start: 0 8 * * 1-7`

    Good:
        `start: 0 8 * * *`

    References:
        https://keda.sh/docs/latest/scalers/cron/
        https://pkg.go.dev/github.com/robfig/cron/v3#hdr-CRON_Expression_Format
    """
    for trigger in view(document, context).triggers:
        if not trigger.is_cron:
            continue
        path = f"{trigger.path}.metadata"
        schedules = []
        for key in ("start", "end"):
            text = trigger.metadata.get(key, "")
            try:
                schedules += [parse(text)] if text else []
            except CronError as error:
                yield context.finding(
                    document,
                    f"{trigger.label}: {key}: {error}",
                    path=f"{path}.{key}",
                    hint="write five fields, such as 0 8 * * 1-5",
                )
        if len(schedules) == len(("start", "end")):
            if trigger.metadata["start"] == trigger.metadata["end"]:
                yield context.finding(
                    document,
                    f"{trigger.label}: start and end are the same",
                    path=path,
                    hint="give them different times",
                )
            elif Window(*schedules).never_opens:
                yield context.finding(
                    document, f"{trigger.label}: the window never opens", path=path, hint="use dates that exist"
                )
        replicas = trigger.metadata.get("desiredReplicas", "")
        if replicas and not re.fullmatch(r"0*[1-9][0-9]*", replicas):
            yield context.finding(
                document,
                f"{trigger.label}: desiredReplicas {replicas!r} is no whole number above 0",
                path=f"{path}.desiredReplicas",
                hint='write desiredReplicas: "1"',
            )
