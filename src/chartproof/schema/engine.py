"""What a schema engine is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from chartproof.schema.payload import Payload


class Outcome(Enum):
    """How an engine judges one document. There is no "skipped": what is not judged is an error."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN_KIND = "unknown kind"


@dataclass(frozen=True, slots=True)
class Violation:
    """One place where a document breaks its schema.

    `path` is dotted (`spec.template.spec.containers[0].image`), empty for the document itself;
    `hint` says what to write instead, where that is known.
    """

    path: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An engine's judgement of one document; only an invalid one has violations."""

    outcome: Outcome
    violations: tuple[Violation, ...] = ()


class Engine(Protocol):
    """Something that validates documents against the schemas of a `SchemaStore`."""

    @property
    def name(self) -> str:
        """How reports call the engine."""

    def validate(self, documents: Sequence[Payload]) -> list[Verdict]:
        """One verdict per document, in the same order.

        Raises InputError where there are no documents, ToolchainError where the engine could not
        run or did not account for every document.
        """
