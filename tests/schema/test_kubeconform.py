"""kubeconform's answer is only believed where it accounts for every document."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chartproof.errors import ToolchainError
from chartproof.release import Document
from chartproof.schema import KubeconformEngine, Outcome, Payload, SchemaStore, validate

Program = Callable[..., Path]
VALID = {"filename": "0.json", "status": "statusValid"}
ONE_VALID = {"valid": 1, "invalid": 0, "errors": 0, "skipped": 0}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A program that prints a text in place of kubeconform."""

    def made(output: str, exit_code: int = 0) -> Path:
        path = tmp_path / "kubeconform"
        code = f"import sys; print({output!r}); sys.exit({exit_code})"
        path.write_text(f"#!/bin/sh\nexec {sys.executable} -c {shlex.quote(code)}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    return made


@pytest.fixture
def document(good: Callable[[str], dict[str, Any]]) -> Payload:
    return Payload.of(Document(good("core/service_v1")))


def report(resources: list[dict[str, Any]], summary: dict[str, int]) -> str:
    return json.dumps({"resources": resources, "summary": summary})


@pytest.mark.parametrize(
    ("case", "resources", "summary"),
    [
        ("nothing judged", [], {**ONE_VALID, "valid": 0}),
        ("skipped", [{"filename": "0.json", "status": "statusSkipped"}], {**ONE_VALID, "valid": 0, "skipped": 1}),
        ("skipped beside", [VALID], {**ONE_VALID, "skipped": 1}),
        ("judged twice", [VALID, VALID], {**ONE_VALID, "valid": 2}),
        ("another document", [{**VALID, "filename": "1.json"}], ONE_VALID),
        ("totals too low", [VALID], {**ONE_VALID, "valid": 0}),
        ("no totals", [VALID], {}),
    ],
)
def test_a_report_that_does_not_account_for_every_document_is_refused(
    case: str, resources: list[dict[str, Any]], summary: dict[str, int], program: Program, document: Payload
) -> None:
    engine = KubeconformEngine(program=program(report(resources, summary)))
    with pytest.raises(ToolchainError, match="kubeconform was given 1 documents"):
        validate(engine, [document])


def test_the_exit_code_alone_proves_nothing(program: Program, document: Payload) -> None:
    engine = KubeconformEngine(program=program(report([VALID], ONE_VALID), 1))
    assert [each.outcome for each in validate(engine, [document])] == [Outcome.VALID]


def test_output_that_is_no_report_is_shown(program: Program, document: Payload) -> None:
    engine = KubeconformEngine(program=program("flag provided but not defined: -output", 2))
    with pytest.raises(ToolchainError, match=r"exit code 2.*flag provided but not defined"):
        validate(engine, [document])


def test_a_missing_program_is_named(tmp_path: Path, document: Payload) -> None:
    with pytest.raises(ToolchainError, match="did not run") as caught:
        validate(KubeconformEngine(program=tmp_path / "absent"), [document])
    assert caught.value.where == str(tmp_path / "absent")


def test_the_items_of_a_list_are_not_judged_in_its_place(document: Payload) -> None:
    items = Payload.of(Document({"apiVersion": "v1", "kind": "List", "items": [document.body, document.body]}))
    empty = Payload.of(Document({"apiVersion": "v1", "kind": "List", "items": []}))
    verdicts = validate(KubeconformEngine(), [items, document, empty])
    assert [each.outcome for each in verdicts] == [Outcome.UNKNOWN_KIND, Outcome.VALID, Outcome.UNKNOWN_KIND]


def test_a_schema_that_is_damaged_is_no_schema(tmp_path: Path, document: Payload) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core/service_v1.json").write_text("{", encoding="utf-8")
    (verdict,) = validate(KubeconformEngine(SchemaStore(tmp_path)), [document])
    assert verdict.outcome is not Outcome.VALID


def test_hundreds_of_documents_are_judged_in_their_order(good: Callable[[str], dict[str, Any]]) -> None:
    bodies = [good("core/service_v1") for _ in range(400)]
    for index, body in enumerate(bodies):
        body["metadata"]["name"] = f"engine-{index}"
        # Large enough that a stream would not fit kubeconform's buffer.
        body["metadata"]["annotations"] = {"text": "x" * 12_000}
        if index % 7 == 0:
            body["spec"]["ports"][0]["port"] = "80"
    verdicts = validate(KubeconformEngine(), [Payload.of(Document(body)) for body in bodies])
    assert [index for index, each in enumerate(verdicts) if each.outcome is Outcome.INVALID] == list(range(0, 400, 7))


def test_a_process_that_is_not_waited_for_is_ended(tmp_path: Path, document: Payload) -> None:
    path, ready = tmp_path / "kubeconform", tmp_path / "pid"
    path.write_text(f"#!/bin/sh\necho $$ > {ready}.new && mv {ready}.new {ready}\nexec sleep 60\n", encoding="utf-8")
    path.chmod(0o755)
    with KubeconformEngine(program=path).running([document]):
        while not ready.exists():
            time.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(int(ready.read_text(encoding="utf-8")), 0)
