"""What a schema engine is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from chartproof.errors import InputError
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


Finish = Callable[[], list[Verdict]]
"""Waits for an engine's verdicts, one per document, in the documents' order."""


class Engine(Protocol):
    """Something that validates documents against the schemas of a `SchemaStore`."""

    @property
    def name(self) -> str:
        """How reports call the engine."""

    def running(self, documents: Sequence[Payload]) -> AbstractContextManager[Finish]:
        """Start to validate; engines that are processes of their own work while others do.

        Leaving the context ends what is still running. Raises InputError where there are no
        documents; entering it or finishing raises ToolchainError where the engine could not run or
        did not account for every document.
        """


def validate(engine: Engine, documents: Sequence[Payload]) -> list[Verdict]:
    """The verdicts of one engine alone; see `Engine.running`."""
    with engine.running(documents) as finish:
        return finish()


def refuse_empty(documents: Sequence[Payload]) -> None:
    """Raise InputError where there is nothing to validate: no engine may call that valid."""
    if not documents:
        raise InputError("there are no documents to validate", how="give at least one rendered document")
