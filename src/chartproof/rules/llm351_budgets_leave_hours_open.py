"""LLM351."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages import cron
from chartproof.languages.duration import DurationError, karpenter_budget_seconds
from chartproof.pool import pool_of
from chartproof.release import Document
from chartproof.rules.registry import Context, rule

_REASONS = ("Underutilized", "Empty", "Drifted")


@rule(id="LLM351", name="budgets-leave-hours-open", severity=Severity.WARNING, kinds=("NodePool",))
def budgets_leave_hours_open(document: Document, context: Context) -> Iterator[Finding]:
    """Scheduled disruption budgets leave hours of the week without a limit.

    What:
        For a reason of disruption, all budgets of a pool have a schedule, and the windows together do not cover
        the week. Their hours are UTC.

    Why it hurts:
        Outside the windows nothing limits Karpenter: it may drain all nodes at once. The default of 10 % no
        longer holds as soon as one budget is written.

    Bad:
        `budgets: [{nodes: "0", schedule: "0 7 * * mon-fri", duration: 12h}]`

    Good:
        also `{nodes: "1"}`, without a schedule

    References:
        https://karpenter.sh/docs/concepts/disruption/#disruption-budgets
    """
    pool = pool_of(document, context.release)
    worst = 0.0
    for reason in _REASONS:
        budgets = [each for each in pool.budgets if not each.get("reasons") or reason in each["reasons"]]
        if budgets and all(each.get("schedule") for each in budgets):
            try:
                windows = [
                    (
                        cron.parse(str(each["schedule"]), descriptors=True),
                        karpenter_budget_seconds(str(each.get("duration"))),
                    )
                    for each in budgets
                ]
            except (cron.CronError, DurationError):
                continue
            worst = max(worst, cron.hours_left_open(windows))
    if worst > 0:
        yield context.finding(
            document,
            f"{worst:g} of the week's 168 hours have no disruption budget: all nodes may go at once",
            path="spec.disruption.budgets",
            hint='add a budget without schedule, such as {nodes: "1"}',
        )
