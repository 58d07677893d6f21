"""What a rule or a schema reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Severity(IntEnum):
    """How much a finding matters; ordered, so that thresholds compare."""

    NOTE = 1
    WARNING = 2
    ERROR = 3

    def __str__(self) -> str:
        """Lower-case name, as printed and as written in JSON."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem at one place of one release.

    `object` is the document's identity (`Kind/name`), `path` the dotted path inside it (empty: the
    object as a whole), `hint` what to write instead.
    """

    rule: str
    severity: Severity
    message: str
    object: str
    path: str = ""
    hint: str = ""
    source: str = ""

    @property
    def explanation(self) -> str:
        """The message, the path and the hint, on a line each."""
        parts = (self.message, self.path and f"at {self.path}", self.hint and f"fix: {self.hint}")
        return "\n".join(each for each in parts if each)
