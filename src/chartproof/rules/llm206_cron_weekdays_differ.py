"""LLM206."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.cron import CronError, Window, parse
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


@rule(id="LLM206", name="cron-weekdays-differ", severity=Severity.ERROR, kinds=("ScaledObject",))
def cron_weekdays_differ(document: Document, context: Context) -> Iterator[Finding]:
    """Start and end of a cron trigger do not alternate, so the window is not the one that is written.

    What:
        KEDA is inside the window when the next event is an end. Where two ends follow each other without a
        start between them (or two starts without an end), as with different weekdays, that is not the time from
        start to end.

    Why it hurts:
        `0 8 * * 1-5` to `0 22 * * *` is "inside" from Friday 22:00 until Sunday 22:00: GPUs run all weekend.

    Bad:
        `start: 0 8 * * 1-5` with `end: 0 22 * * *`.

    Good:
        `start: 0 8 * * 1-5` with `end: 0 22 * * 1-5`.

    References:
        https://keda.sh/docs/latest/scalers/cron/
        https://github.com/kedacore/keda/blob/main/pkg/scalers/cron_scaler.go
    """
    for trigger in view(document, context).triggers:
        if not trigger.is_cron:
            continue
        try:
            window = Window(parse(trigger.metadata.get("start", "")), parse(trigger.metadata.get("end", "")))
        except CronError:
            continue
        surprise = window.surprise()
        if surprise:
            yield context.finding(
                document,
                f"{trigger.label}: {surprise}",
                path=f"{trigger.path}.metadata",
                hint="give start and end the same days of the week (and of the month)",
            )
