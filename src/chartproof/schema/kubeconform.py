"""kubeconform, one process for any number of documents, offline and strict."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chartproof import toolchain
from chartproof.errors import ToolchainError
from chartproof.schema.engine import Finish, Outcome, Verdict, Violation, refuse_empty
from chartproof.schema.payload import Payload
from chartproof.schema.store import SchemaStore

_SECONDS_AT_LEAST = 60
_SECONDS_PER_DOCUMENT = 0.1
_NO_SCHEMA = ("could not find schema for ", "error while parsing: missing '")
"""How kubeconform says that it has no schema, or that apiVersion or kind is missing."""


class KubeconformEngine:
    """Runs the kubeconform of the toolchain.

    Its exit code is not asked: it is 0 for empty input, too, and for skipped documents. What counts
    is that its output names every document exactly once and that its totals say the same.
    """

    name = "kubeconform"

    def __init__(self, store: SchemaStore | None = None, program: Path | None = None) -> None:
        """Validate against the schemas of `store`, with `program` or that of the toolchain."""
        self._store = store or SchemaStore()
        self._program = program

    @contextmanager
    def running(self, documents: Sequence[Payload]) -> Iterator[Finish]:
        """See `Engine.running`."""
        refuse_empty(documents)
        # kubeconform would judge the items of a List in its place, or none where it is empty.
        judged = [index for index, each in enumerate(documents) if each.kind.lower() != "list"]
        unknown = dict.fromkeys(range(len(documents)), Verdict(Outcome.UNKNOWN_KIND))
        if not judged:
            yield lambda: list(unknown.values())
            return
        with tempfile.TemporaryDirectory(prefix="chartproof-") as scratch:
            # A file per document: kubeconform's results name files, and it reads long streams from
            # standard input into a buffer that it overwrites while still in use.
            for index in judged:
                Path(scratch, f"{index}.json").write_bytes(documents[index].text.encode("utf-8", "surrogatepass"))
            with self._process(scratch) as process:
                try:
                    yield lambda: list((unknown | _verdicts(_report(process, len(judged)), judged)).values())
                finally:
                    if process.poll() is None:
                        process.kill()

    def _process(self, directory: str) -> subprocess.Popen[bytes]:
        command = [
            str(self._program or toolchain.resolve("kubeconform")),
            *("-strict", "-summary", "-verbose", "-output", "json"),
            *("-schema-location", self._store.location),
            *("-n", str(os.cpu_count() or 1)),
            directory,
        ]
        try:
            return subprocess.Popen(
                command,
                # It lives for milliseconds: collecting garbage less often makes it a fifth faster.
                env={**os.environ, "GOGC": "400"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise ToolchainError(f"kubeconform did not run: {error.strerror}", where=command[0]) from error


def _report(process: subprocess.Popen[bytes], count: int) -> Mapping[str, Any]:
    """What kubeconform printed about `count` documents."""
    where = str(process.args[0]) if isinstance(process.args, list) else ""
    try:
        output, complaints = process.communicate(timeout=_SECONDS_AT_LEAST + _SECONDS_PER_DOCUMENT * count)
        return json.loads(output)  # type: ignore[no-any-return]
    except subprocess.TimeoutExpired as error:
        raise ToolchainError(f"kubeconform took more than {error.timeout:.0f} s", where=where) from error
    except ValueError as error:
        said = (complaints or output).decode(errors="replace").strip()
        raise ToolchainError(
            f"kubeconform gave no result (exit code {process.returncode}): {said[:500]}",
            where=where,
            how="remove CHARTPROOF_KUBECONFORM from the environment, or point it at version 0.7 or newer",
        ) from error


def _verdicts(report: Mapping[str, Any], given: Sequence[int]) -> dict[int, Verdict]:
    """The verdict of every given document; raises ToolchainError where the counts are off."""
    results = [(int(Path(each["filename"]).stem), each) for each in report.get("resources") or ()]
    summary = report.get("summary", {})
    totals = [summary.get(key, 0) for key in ("valid", "invalid", "errors")]
    complete = sorted(index for index, _ in results) == sorted(given) and sum(totals) == len(given)
    if summary.get("skipped", 0) or not complete:
        raise ToolchainError(
            f"kubeconform was given {len(given)} documents and judged {len(results)} (its own totals: {summary})",
            how="report this together with the manifests: no document may go unchecked",
        )
    return {index: _verdict(each) for index, each in results}


def _verdict(result: Mapping[str, Any]) -> Verdict:
    status, message = result["status"], result.get("msg", "")
    if status == "statusValid":
        return Verdict(Outcome.VALID)
    if status == "statusError" and message.startswith(_NO_SCHEMA):
        return Verdict(Outcome.UNKNOWN_KIND)
    violations = [Violation(_dotted(each["path"]), each["msg"]) for each in result.get("validationErrors") or ()]
    return Verdict(Outcome.INVALID, tuple(violations) or (Violation("", message),))


def _dotted(pointer: str) -> str:
    """`/spec/containers/0/image` as `spec.containers[0].image`."""
    path = ""
    for step in pointer.split("/")[1:]:
        path += f"[{step}]" if step.isdigit() else f".{step}" if path else step
    return path
