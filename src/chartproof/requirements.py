"""Node requirements as sets of label values, the way Karpenter intersects them.

Source: kubernetes-sigs/karpenter v1.14 `pkg/scheduling/requirement.go` and `requirements.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: Old names of labels that Karpenter reads as the new ones.
NORMALISED_LABELS: Mapping[str, str] = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
    "topology.ebs.csi.aws.com/zone": "topology.kubernetes.io/zone",
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """The values that one label may have.

    `values` are the allowed ones, or with `complement` the forbidden ones; `above` and `below` bound
    numbers (exclusive); `absent` says whether a node without the label will do.
    """

    values: frozenset[str] = frozenset()
    complement: bool = False
    above: int | None = None
    below: int | None = None
    absent: bool = False

    @classmethod
    def of(cls, operator: str, values: Iterable[Any] = ()) -> Requirement:
        """The requirement that an operator and its values express; an unknown one allows everything."""
        words = frozenset(str(each) for each in values)
        if operator == "In":
            return cls(words)
        if operator == "NotIn":
            return cls(words, complement=True, absent=True)
        if operator == "DoesNotExist":
            return cls(absent=True)
        bounds = {"Gt": ("above", 0), "Gte": ("above", -1), "Lt": ("below", 0), "Lte": ("below", 1)}
        if operator in bounds and len(words) == 1 and (word := next(iter(words))).isdigit():
            field, shift = bounds[operator]
            bound = int(word) + shift
            return cls(complement=True, above=bound) if field == "above" else cls(complement=True, below=bound)
        return cls(complement=True, absent=operator not in {"Exists", *bounds})

    def allows(self, value: str | None) -> bool:
        """Whether a node whose label has this value (None: lacks the label) will do."""
        if value is None:
            return self.absent
        if self.above is not None or self.below is not None:
            if not value.isdigit():
                return False
            number = int(value)
            if self.above is not None and number <= self.above:
                return False
            if self.below is not None and number >= self.below:
                return False
        return (value in self.values) != self.complement

    def intersect(self, other: Requirement) -> Requirement:
        """The requirement that both together make."""
        above = max((each for each in (self.above, other.above) if each is not None), default=None)
        below = min((each for each in (self.below, other.below) if each is not None), default=None)
        absent = self.absent and other.absent
        if self.complement and other.complement:
            return Requirement(self.values | other.values, complement=True, above=above, below=below, absent=absent)
        if self.complement or other.complement:
            open_one, closed = (self, other) if self.complement else (other, self)
            kept = frozenset(value for value in closed.values if open_one.allows(value))
        else:
            kept = self.values & other.values
        bounded = Requirement(complement=True, above=above, below=below)
        return Requirement(frozenset(value for value in kept if bounded.allows(value)), absent=absent)

    @property
    def empty(self) -> bool:
        """Whether no value, and not even absence, satisfies it."""
        if self.absent:
            return False
        if self.complement:
            return self.above is not None and self.below is not None and self.below - self.above <= 1
        return not self.values

    @property
    def only(self) -> str | None:
        """The one value that is allowed, or None."""
        return next(iter(self.values)) if not self.complement and len(self.values) == 1 else None

    @property
    def named(self) -> frozenset[str] | None:
        """The allowed values where they are listed, None where they are not."""
        return None if self.complement else self.values


def combine(entries: Iterable[tuple[str, Requirement]]) -> dict[str, Requirement]:
    """Requirements by label, those of one label intersected; old label names become the new ones."""
    found: dict[str, Requirement] = {}
    for written, requirement in entries:
        key = NORMALISED_LABELS.get(written, written)
        found[key] = found[key].intersect(requirement) if key in found else requirement
    return found


def from_expressions(expressions: Any) -> list[tuple[str, Requirement]]:
    """The requirements of a list of `{key, operator, values}`; entries of another shape are skipped."""
    return [
        (str(each.get("key") or ""), Requirement.of(str(each.get("operator") or ""), each.get("values") or ()))
        for each in (expressions if isinstance(expressions, list) else [])
        if isinstance(each, Mapping)
    ]


def from_labels(labels: Any) -> list[tuple[str, Requirement]]:
    """The requirements that exact labels (a node selector, a template's labels) make."""
    if not isinstance(labels, Mapping):
        return []
    return [(str(key), Requirement(frozenset({_text(value)}))) for key, value in labels.items()]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
