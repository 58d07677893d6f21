"""LLM205."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.autoscaler import keda_version
from chartproof.findings import Finding, Severity
from chartproof.languages.formula import FormulaError, UnjudgedError
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule
from chartproof.versions import format_version

_ZERO_OUTSIDE = (2, 18, 0)


@rule(id="LLM205", name="cron-metric-outside-window", severity=Severity.ERROR, kinds=("ScaledObject",))
def cron_metric_outside_window(document: Document, context: Context) -> Iterator[Finding]:
    """A formula takes the cron value as 0 outside its hours, which it is only from KEDA 2.18 on.

    What:
        The release installs KEDA 2.17 or older, whose cron metric is 1 outside the window, and a formula still
        gives at least one replica when the cron is 1.

    Why it hurts:
        The floor of the office hours holds day and night: GPUs run all weekend and nothing ever scales to zero.

    Bad:
        KEDA 2.17 with `desiredReplicas: "1"` and `max(running, office_hours * 25)`.

    Good:
        KEDA 2.18 or newer; or `desiredReplicas: "2"` and `office_hours > 1.5 ? 25 : 0`, right on every version.

    References:
        https://github.com/kedacore/keda/pull/6886
        https://keda.sh/docs/latest/scalers/cron/
    """
    version = keda_version(context.release)
    scaler = view(document, context)
    if version is None or version >= _ZERO_OUTSIDE or scaler.formula is None or scaler.modifiers is None:
        return
    for trigger in scaler.triggers:
        if not trigger.is_cron or trigger.name not in scaler.formula_names:
            continue
        values: dict[str, float | None] = dict.fromkeys(scaler.formula_trigger_names, 0.0)
        values[trigger.name] = 1.0
        try:
            outside = scaler.formula.run(values).value
        except (FormulaError, UnjudgedError):
            continue
        if outside and outside > (scaler.modifiers.activation or 0.0):
            yield context.finding(
                document,
                f"KEDA {format_version(version)} gives the cron {trigger.name!r} the value 1 outside its hours, "
                f"so the formula stays at {outside:g}",
                path=f"{scaler.modifiers.path}.formula",
                hint=f'use KEDA 2.18, or desiredReplicas: "2" with {trigger.name} > 1.5 ? <target> : 0',
            )
