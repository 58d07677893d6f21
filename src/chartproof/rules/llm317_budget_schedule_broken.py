"""LLM317."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages import cron
from chartproof.release import Document, dig
from chartproof.rules.registry import Context, rule


@rule(id="LLM317", name="budget-schedule-broken", severity=Severity.ERROR, kinds=("NodePool",))
def budget_schedule_broken(document: Document, context: Context) -> Iterator[Finding]:
    """A disruption budget has a schedule that Karpenter cannot follow.

    What:
        The schedule is no cron expression, carries a timezone (`CRON_TZ=`, `TZ=`), or stands without its
        duration.

    Why it hurts:
        The API server accepts it and the NodePool reports Ready, but Karpenter fails closed: it disrupts
        nothing any more. Idle GPU nodes are kept and paid for ever, and drift never happens.

    Bad:
        `{nodes: "0", schedule: "CRON_TZ=Europe/Berlin 0 7 * * mon-fri", duration: 12h}`

    Good:
        `{nodes: "0", schedule: "0 6 * * mon-fri", duration: 12h}` (hours in UTC)

    References:
        https://karpenter.sh/docs/concepts/disruption/#disruption-budgets
    """
    for i, budget in enumerate(document.get("spec", "disruption", "budgets", default=[]) or []):
        schedule, duration = dig(budget, "schedule"), dig(budget, "duration")
        path = f"spec.disruption.budgets[{i}]"
        if (schedule is None) != (duration is None):
            there, lacks = ("schedule", "duration") if duration is None else ("duration", "schedule")
            yield context.finding(
                document, f"budget has {there} without {lacks}", path=path, hint=f"add the {lacks}, or drop the {there}"
            )
        if schedule is not None:
            problem = _problem(str(schedule))
            if problem:
                yield context.finding(
                    document,
                    f"{problem}: Karpenter then disrupts no node at all",
                    path=f"{path}.schedule",
                    hint="write five cron fields in UTC, such as 0 7 * * mon-fri",
                )


def _problem(text: str) -> str:
    if "TZ=" in text:
        return f"schedule {text!r} names a timezone, budgets know only UTC"
    try:
        cron.parse(text, descriptors=True)
    except cron.CronError as problem:
        return f"schedule {text!r} is no cron expression ({problem})"
    return ""
