"""LLM358."""

from __future__ import annotations

from collections.abc import Iterator

from chartproof.findings import Finding, Severity
from chartproof.pool import pools_with
from chartproof.release import Document
from chartproof.rules.registry import Context, rule


@rule(id="LLM358", name="reservation-never-used", severity=Severity.ERROR, kinds=("EC2NodeClass",))
def reservation_never_used(document: Document, context: Context) -> Iterator[Finding]:
    """A capacity reservation that no pool may use.

    What:
        A node class selects capacity reservations, and every pool of the release that uses it restricts the
        capacity type without `reserved`.

    Why it hurts:
        The reserved GPUs are paid for and stand idle, while on-demand nodes are bought beside them.

    Bad:
        `capacityReservationSelectorTerms` with `karpenter.sh/capacity-type In [on-demand]`

    Good:
        `karpenter.sh/capacity-type In [reserved, on-demand]`

    References:
        https://karpenter.sh/docs/tasks/odcrs/
    """
    if not document.get("spec", "capacityReservationSelectorTerms"):
        return
    pools = pools_with(document, context.release)
    if pools and not any("reserved" in pool.capacity_types for pool in pools):
        yield context.finding(
            document,
            f"selects capacity reservations, and NodePool {pools[0].name!r} does not allow reserved capacity",
            path="spec.capacityReservationSelectorTerms",
            hint="add reserved to karpenter.sh/capacity-type of the pool",
        )
