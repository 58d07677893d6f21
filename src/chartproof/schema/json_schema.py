"""The jsonschema library: in this process, and the one whose messages people read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from chartproof.schema.engine import Finish, Outcome, Verdict, refuse_empty
from chartproof.schema.payload import Payload
from chartproof.schema.store import SchemaStore

_Validator = Any
"""An instance of what `_draft` returns; jsonschema makes that class at run time."""


class JsonSchemaEngine:
    """Validates with jsonschema; a kind's validator is made once."""

    name = "jsonschema"

    def __init__(self, store: SchemaStore | None = None) -> None:
        """Validate against the schemas of `store`."""
        self._store = store or SchemaStore()
        self._validators: dict[Path, _Validator] = {}

    @contextmanager
    def running(self, documents: Sequence[Payload]) -> Iterator[Finish]:
        """See `Engine.running`; all work is done in finishing."""
        refuse_empty(documents)
        yield lambda: [self._verdict(each) for each in documents]

    def _verdict(self, document: Payload) -> Verdict:
        path = self._store.find(document.api_version, document.kind)
        if path is None:
            return Verdict(Outcome.UNKNOWN_KIND)
        validator = self._validators.get(path)
        if validator is None:
            validator = self._validators[path] = _draft()(self._store.inlined(path))
        errors = list(validator.iter_errors(document.body))
        if not errors:
            return Verdict(Outcome.VALID)
        from chartproof.schema.messages import describe  # noqa: PLC0415 - only needed for what is wrong

        return Verdict(Outcome.INVALID, tuple(describe(errors, validator.schema)))


def preload() -> None:
    """Import jsonschema, which takes longer than validating a preset with it.

    For a thread that has nothing to do while helm renders; without it the first validation imports.
    """
    _draft()


@cache
def _draft() -> Any:
    """Draft 4, with 1.0 being an integer: YAML's 1.0 reaches the API server as 1."""
    from jsonschema import Draft4Validator, validators  # noqa: PLC0415

    def is_integer(_: object, value: object) -> bool:
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )

    types = Draft4Validator.TYPE_CHECKER.redefine("integer", is_integer)
    return validators.extend(Draft4Validator, type_checker=types)  # type: ignore[no-untyped-call]
