"""From releases to findings: both engines over every document, and what they say in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cache

from chartproof.errors import InputError
from chartproof.findings import Finding, Severity
from chartproof.release import Document, Release
from chartproof.schema.engine import Engine, Outcome, Verdict, Violation
from chartproof.schema.json_schema import JsonSchemaEngine
from chartproof.schema.kubeconform import KubeconformEngine
from chartproof.schema.payload import Payload
from chartproof.schema.store import SchemaStore
from chartproof.schema.unique import repeated_items

UNKNOWN_KIND = "LLM012"
SCHEMA_VIOLATION = "LLM013"
ENGINES_DISAGREE = "LLM014"

Verdicts = tuple[Verdict, ...]
"""What the engines say of one document, in the order of the engines."""


class SchemaCheck:
    """Validates releases; remembers verdicts, so that a document of the same content is judged once."""

    def __init__(self, store: SchemaStore | None = None, engines: Sequence[Engine] | None = None) -> None:
        """Validate with `engines`, by default jsonschema and kubeconform over the schemas of `store`.

        Findings take their words from the first engine that finds a document invalid.
        """
        self._store = store or SchemaStore()
        self._engines = tuple(engines or (JsonSchemaEngine(self._store), KubeconformEngine(self._store)))
        self._verdicts: dict[bytes, Verdicts] = {}
        self._repeated: dict[bytes, tuple[Violation, ...]] = {}

    def check(self, releases: Sequence[Release]) -> dict[str, list[Finding]]:
        """Findings of every release by its name, in the order of its documents.

        Raises InputError where there is nothing to check or a name occurs twice, ToolchainError
        where an engine did not account for every document.
        """
        _refuse_empty(releases)
        payloads = {release.name: [Payload.of(document) for document in release.documents] for release in releases}
        self._judge([payload for group in payloads.values() for payload in group])
        return {
            release.name: [
                finding
                for document, payload in zip(release.documents, payloads[release.name], strict=True)
                for finding in self._findings(document, payload)
            ]
            for release in releases
        }

    def _judge(self, payloads: Sequence[Payload]) -> None:
        """Fill the memory with verdicts on all of these."""
        new = {each.digest: each for each in payloads if each.digest not in self._verdicts}
        if not new:
            return
        documents = list(new.values())
        with ExitStack() as stack:
            # All are started before the first is finished: kubeconform is another process, and works
            # while this one runs jsonschema.
            running = [stack.enter_context(engine.running(documents)) for engine in self._engines]
            judged = [finish() for finish in running]
        self._verdicts |= dict(zip(new, zip(*judged, strict=True), strict=True))
        for digest, payload in new.items():
            path = self._store.find(payload.api_version, payload.kind)
            if path and {each.outcome for each in self._verdicts[digest]} == {Outcome.VALID}:
                self._repeated[digest] = tuple(repeated_items(payload.body, self._store.inlined(path)))

    def _findings(self, document: Document, payload: Payload) -> Iterator[Finding]:
        verdicts = self._verdicts[payload.digest]
        outcomes = {each.outcome for each in verdicts}
        name = document.identity or f"document {document.index + 1}"

        def finding(rule: str, message: str, *, path: str = "", hint: str = "") -> Finding:
            return Finding(rule, Severity.ERROR, message, name, path, hint, document.source)

        if outcomes == {Outcome.UNKNOWN_KIND}:
            kind = payload.kind or "an object without kind"
            yield finding(
                UNKNOWN_KIND,
                f"there is no schema of {kind} ({payload.api_version or 'no apiVersion'})",
                path="kind" if payload.api_version else "apiVersion",
                hint=self._store.hint(payload.api_version, payload.kind),
            )
        elif len(outcomes) > 1:
            said = ", ".join(
                f"{engine.name}: {verdict.outcome.value}"
                for engine, verdict in zip(self._engines, verdicts, strict=True)
            )
            first = next((each for verdict in verdicts for each in verdict.violations), None)
            yield finding(
                ENGINES_DISAGREE,
                f"the schema engines disagree ({said})" + (f": {first.message}" if first else ""),
                path=first.path if first else "",
                hint="treat the object as wrong, and report it: a schema or an engine is at fault",
            )
        else:
            violations = next((verdict.violations for verdict in verdicts if verdict.violations), ())
            for each in (*violations, *self._repeated.get(payload.digest, ())):
                yield finding(SCHEMA_VIOLATION, each.message, path=each.path, hint=each.hint)


@cache
def _default() -> SchemaCheck:
    return SchemaCheck()


def check_schemas(releases: Sequence[Release]) -> dict[str, list[Finding]]:
    """Validate releases against the schemas that belong to this chartproof; see `SchemaCheck.check`."""
    return _default().check(releases)


def _refuse_empty(releases: Sequence[Release]) -> None:
    if not releases:
        raise InputError("there is nothing to check", how="name a preset, a file, or `-` for standard input")
    seen: set[str] = set()
    for release in releases:
        if not release.documents:
            raise InputError(
                "no documents: an empty manifest proves nothing",
                where=release.origin or release.name,
                how="check what the values switch on, or which file was given",
            )
        if release.name in seen:
            raise InputError(f"two releases are called {release.name}", how="give them different file names")
        seen.add(release.name)
