"""LLM203."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.autoscaler import Autoscaler
from chartproof.findings import Finding, Severity
from chartproof.languages.formula import FormulaError, UnjudgedError, compile_formula
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


def _hint(reason: str, scaler: Autoscaler) -> str:
    hyphenated = [each.name for each in scaler.triggers if "-" in each.name]
    if reason.startswith("unknown name") and hyphenated:
        return f"a hyphen is a minus: rename the trigger {hyphenated[0]} to {hyphenated[0].replace('-', '_')}"
    resources = [each.type for each in scaler.triggers if each.is_resource and each.name]
    if reason.startswith("unknown name") and resources:
        return f"{resources[0]} triggers cannot be used in formulas; use Prometheus instead"
    if "non-float" in reason:
        return "wrap the whole formula in float(...)"
    return f"use the triggers' names: {', '.join(scaler.formula_trigger_names) or 'give each trigger a name'}"


@rule(id="LLM203", name="formula-does-not-compile", severity=Severity.ERROR, kinds=("ScaledObject",))
def formula_does_not_compile(document: Document, context: Context) -> Iterator[Finding]:
    """KEDA refuses the scaling formula, or fails every time it runs it.

    What:
        The formula is parsed, type-checked and tried as KEDA does (expr-lang, wrapped in `float(...)`): unknown
        and hyphenated names, names of cpu or memory triggers, results that are no number, `%` on floats,
        triggers named like a function that is called.

    Why it hurts:
        KEDA creates no HorizontalPodAutoscaler for such a ScaledObject, or hands it no value: nothing scales.
        Its webhook only warns where it is installed at all.

    Bad:
        `formula: running + office-hours * 25` (a hyphen is a minus).

    Good:
        `formula: running + office_hours * 25`, with the trigger renamed alike.

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
        https://expr-lang.org/docs/language-definition
    """
    scaler = view(document, context)
    modifiers = scaler.modifiers
    if modifiers is None or not modifiers.formula:
        return
    path = f"{modifiers.path}.formula"
    try:
        formula = compile_formula(modifiers.formula, scaler.formula_trigger_names)
        formula.run(dict.fromkeys(scaler.formula_trigger_names, 1.0))
    except UnjudgedError:
        return
    except FormulaError as error:
        yield context.finding(document, f"KEDA refuses the formula: {error}", path=path, hint=_hint(str(error), scaler))
