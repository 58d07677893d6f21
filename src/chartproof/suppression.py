"""Findings that an object's own annotation accepts, and the annotations that should not be there.

`chartproof.io/ignore.LLM402: "reached through the gateway only; until=2027-03-01"` on an object
accepts the findings of that rule about it. The reason is mandatory, the date optional and inclusive.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chartproof import reserved_rules
from chartproof.findings import Finding
from chartproof.release import Document, Release
from chartproof.rules.registry import Rule

PREFIX = "chartproof.io/ignore."


@dataclass(frozen=True, slots=True)
class Suppression:
    """One annotation: which rule it accepts on which object, why, and until when."""

    document: Document
    rule: str
    reason: str
    until: str

    @property
    def path(self) -> str:
        """Where the annotation is in its document."""
        return f"metadata.annotations.{PREFIX}{self.rule}"

    def has_expired(self, today: dt.date) -> bool:
        """Whether its last day is over; a date that cannot be read never protects."""
        if not self.until:
            return False
        try:
            return dt.date.fromisoformat(self.until) < today
        except ValueError:
            return True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What remains after suppression, and how many findings were accepted."""

    findings: tuple[Finding, ...]
    suppressed: int


def suppressions(release: Release) -> Iterator[Suppression]:
    """Every suppression of a release, in the order of its documents."""
    for document in release.documents:
        annotations: object = document.annotations  # whatever a manifest holds
        for key, value in annotations.items() if isinstance(annotations, Mapping) else ():
            if key.startswith(PREFIX):
                yield _parse(document, key.removeprefix(PREFIX), str(value))


def apply(release: Release, findings: Sequence[Finding], ran: Collection[str], today: dt.date) -> Outcome:
    """Take accepted findings out, and add findings about the suppressions themselves.

    `ran` holds the ids of the rules that were run: whether a suppression of another rule is unused
    cannot be known.
    """
    about: list[Finding] = []
    accepted: set[tuple[str, str]] = set()
    reported = {(each.rule, each.object) for each in findings}
    known = {each.id for each in reserved_rules.documented_rules()}
    for each in suppressions(release):
        target = each.rule, each.document.identity
        if each.rule not in known:
            about.append(_finding(reserved_rules.unused_suppression, each, "there is no such rule", "remove it"))
        elif not each.reason:
            why = f"the suppression of {each.rule} gives no reason and does not count"
            about.append(_finding(reserved_rules.suppression_without_reason, each, why, "say why the finding is fine"))
        elif each.has_expired(today):
            why = f"the suppression of {each.rule} ended ({each.until}) and no longer counts"
            hint = "resolve the finding, or set a new date as until=YYYY-MM-DD"
            about.append(_finding(reserved_rules.expired_suppression, each, why, hint))
        elif target in reported:
            accepted.add(target)
        elif each.rule in ran:
            why = f"{each.rule} finds nothing here"
            about.append(_finding(reserved_rules.unused_suppression, each, why, "remove the annotation"))
    remaining = [each for each in findings if (each.rule, each.object) not in accepted]
    about = [each for each in about if each.rule in ran]
    return Outcome((*remaining, *about), len(findings) - len(remaining))


def _parse(document: Document, rule: str, text: str) -> Suppression:
    parts = [part.strip() for part in text.split(";")]
    until = next((part.removeprefix("until=").strip() for part in parts if part.startswith("until=")), "")
    reason = "; ".join(part for part in parts if part and not part.startswith("until="))
    return Suppression(document, rule, reason, until)


def _finding(rule: Rule, suppression: Suppression, message: str, hint: str) -> Finding:
    document = suppression.document
    return Finding(rule.id, rule.severity, message, document.identity, suppression.path, hint, document.source)
