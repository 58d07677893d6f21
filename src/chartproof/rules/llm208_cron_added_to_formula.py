"""LLM208."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.languages.formula import Node, additive_terms, names
from chartproof.languages.formula.syntax import Binary, children
from chartproof.release import Document
from chartproof.rules._autoscaling import view
from chartproof.rules.registry import Context, rule


def added_names(node: Node) -> Iterator[str]:
    """Names that alone make up a term of a sum with something else."""
    if isinstance(node, Binary) and node.operator == "+":
        terms = [names(each) for each in additive_terms(node)]
        if len(set(terms)) > 1:
            yield from (name for term in terms if len(term) == 1 for name in term)
    for each in children(node):
        yield from added_names(each)


@rule(id="LLM208", name="cron-added-to-formula", severity=Severity.WARNING, kinds=("ScaledObject",))
def cron_added_to_formula(document: Document, context: Context) -> Iterator[Finding]:
    """The cron is added to the load in the formula, where a floor was meant.

    What:
        A formula has a cron trigger as a term of a sum: `running + waiting * 10 + office_hours * 25`.

    Why it hurts:
        The sum adds a whole replica on top of what the load needs, all through the office hours. A floor,
        `max(load, cron)`, costs nothing once there is load.

    Bad:
        `running + waiting * 10 + office_hours * 25`

    Good:
        `max(running + waiting * 10, office_hours * 25)`

    References:
        https://keda.sh/docs/latest/reference/scaledobject-spec/#scalingmodifiers
        https://github.com/kedacore/keda/issues/6665
    """
    scaler = view(document, context)
    if scaler.formula is None or scaler.modifiers is None:
        return
    crons = {each.name for each in scaler.triggers if each.is_cron and each.name}
    for name in sorted(crons & set(added_names(scaler.formula.tree))):
        yield context.finding(
            document,
            f"the formula adds {name} to the load, one more replica than the load needs",
            path=f"{scaler.modifiers.path}.formula",
            hint=f"make it a floor: max(<load>, {name} * <target>)",
        )
