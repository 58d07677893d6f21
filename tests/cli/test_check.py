"""`chartproof check`: what it takes, what it reports, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from chartproof import check
from chartproof.errors import ExitCode, UsageError
from chartproof.findings import Finding, Severity
from chartproof.report import json_report, terminal, text
from chartproof.report.terminal import Paint
from tests.presets import ROOT

Run = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]

CLEAN = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {b: c}\n"
# LLM007: a floating tag, an error. LLM343 and the like never look at a bare Pod's image.
FLOATING = """apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: engine, image: "example.org/engine:latest"}]}
"""
SCHEMA = json.loads((ROOT / "docs" / "check-report.schema.json").read_text())


def report(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    jsonschema.validate(found, SCHEMA)
    return found


def rules_of(found: dict[str, Any]) -> set[str]:
    return {finding["rule"] for release in found["releases"] for finding in release["findings"]}


def test_clean_manifests_end_with_zero(run: Run) -> None:
    result = run("check", "-", stdin=CLEAN.encode())
    assert result.code == ExitCode.CLEAN
    assert "1 document  clean" in result.stdout
    assert not result.stderr


def test_errors_end_with_one(run: Run) -> None:
    result = run("check", "-", "--select", "LLM007", stdin=FLOATING.encode())
    assert result.code == ExitCode.FINDINGS
    assert "error   LLM007 floating-image-tag" in result.stdout
    assert "at spec.containers[0].image" in result.stdout
    assert "1 release, 1 document: 1 error, 0 warnings, 0 notes" in result.stdout


def test_exit_zero_reports_and_ends_with_zero(run: Run) -> None:
    result = run("check", "-", "--exit-zero", stdin=FLOATING.encode())
    assert result.code == ExitCode.CLEAN
    assert "LLM007" in result.stdout


def test_exit_zero_does_not_hide_that_nothing_was_checked(run: Run) -> None:
    assert run("check", "-", "--exit-zero").code == ExitCode.COULD_NOT_RUN


@pytest.mark.parametrize(
    ("severity", "fail_on", "code"),
    [
        (Severity.ERROR, "error", 1),
        (Severity.WARNING, "error", 0),
        (Severity.WARNING, "warning", 1),
        (Severity.NOTE, "warning", 0),
        (Severity.NOTE, "note", 1),
    ],
)
def test_fail_on_is_a_threshold(
    run: Run, monkeypatch: pytest.MonkeyPatch, severity: Severity, fail_on: str, code: int
) -> None:
    found = Finding("LLM001", severity, "message", "ConfigMap/a", "", "hint")
    monkeypatch.setattr(check, "check_release", lambda *_: [found])
    assert run("check", "-", "--fail-on", fail_on, stdin=CLEAN.encode()).code == code


def test_json_has_the_documented_shape(run: Run) -> None:
    found = report(run("check", "-", "--select", "LLM007", "--format", "json", stdin=FLOATING.encode()))
    assert found["releases"][0]["name"] == "-"
    assert found["releases"][0]["documents"] == 1
    finding = found["releases"][0]["findings"][0]
    assert finding.keys() == {"rule", "severity", "message", "object", "path", "hint"}
    assert (finding["rule"], finding["severity"], finding["object"]) == ("LLM007", "error", "Pod/a")
    assert found["errors"] == []
    assert found["summary"] == {
        "releases": 1,
        "documents": 1,
        "errors": 1,
        "warnings": 0,
        "notes": 0,
        "suppressed": 0,
        "failed": 0,
    }


def test_json_names_inputs_that_made_no_release(run: Run) -> None:
    result = run("check", "missing.yaml", "--format", "json")
    assert result.code == ExitCode.COULD_NOT_RUN
    found = report(result)
    assert found["errors"][0]["name"] == "missing.yaml"
    assert "no such file" in found["errors"][0]["message"]
    assert found["summary"]["failed"] == 1


def test_output_goes_to_a_file_without_colour(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "report.txt"
    result = run("check", "-", "--output", place, stdin=CLEAN.encode())
    assert not result.stdout
    assert "clean" in place.read_text()
    assert "\033" not in place.read_text()


def test_misspelled_field_is_found_by_the_schemas(run: Run) -> None:
    manifest = CLEAN.replace("data:", "dtaa:")
    found = report(run("check", "-", "--format", "json", stdin=manifest.encode()))
    assert "LLM013" in rules_of(found)


def test_unknown_kind_is_never_skipped(run: Run) -> None:
    manifest = CLEAN.replace("ConfigMap", "ConfigMop")
    result = run("check", "-", "--format", "json", stdin=manifest.encode())
    assert result.code == ExitCode.FINDINGS
    assert rules_of(report(result)) == {"LLM012"}


def test_select_takes_ids_names_beginnings_and_commas() -> None:
    assert check.select(["LLM007"], []) == {"LLM007"}
    assert check.select(["floating-image-tag"], []) == {"LLM007"}
    assert {"LLM901", "LLM902", "LLM903"} == check.select(["LLM9"], [])
    assert "LLM902" not in check.select(["LLM9"], ["LLM902"])
    assert "LLM007" not in check.select([], ["llm007"])
    with pytest.raises(UsageError, match="no rule 'LLM000'"):
        check.select(["LLM000"], [])


def test_comma_separates_rules(run: Run) -> None:
    found = report(
        run(
            "check", "-", "--select", "LLM901,LLM007", "--ignore", "LLM901", "--format", "json", stdin=FLOATING.encode()
        )
    )
    assert rules_of(found) == {"LLM007"}


def test_preset_and_manifest_are_told_apart(run: Run, write: Write, tiny: Path) -> None:
    manifest = write("manifest.yaml", CLEAN)
    found = report(run("check", manifest, tiny, "--format", "json", "--exit-zero"))
    assert [(each["name"], each["documents"]) for each in found["releases"]] == [(str(manifest), 1), ("tiny", 4)]


def test_values_lie_over_the_preset_and_set_over_both(run: Run, write: Write, tiny: Path) -> None:
    preset = write("a.yaml", "image: one\nreplicas: 1\n")
    overlay = write("overlay.yaml", "image: two\n")
    rendered = run("render", "--chart", tiny, preset, "-f", overlay, "--set", "replicas=3").stdout
    assert "image: two" in rendered
    assert "replicas: 3" in rendered


def test_values_alone_render_the_chart(run: Run, write: Write, tiny: Path) -> None:
    found = report(run("check", "--chart", tiny, "-f", write("b.yaml", "replicas: 2\n"), "--format", "json"))
    assert found["releases"][0]["name"] == "b"


def test_directory_of_manifests_is_one_release(run: Run, write: Write, tmp_path: Path) -> None:
    write("app/one.yaml", CLEAN)
    write("app/deeper/two.json", json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}))
    write("app/.hidden/three.yaml", "a: [")
    write("app/notes.txt", "not a manifest")
    found = report(run("check", tmp_path / "app", "--format", "json"))
    assert [(each["name"], each["documents"]) for each in found["releases"]] == [(str(tmp_path / "app"), 2)]


def test_directory_of_presets_is_many_releases(run: Run, write: Write) -> None:
    chart = write("charts/llm-inference/Chart.yaml", "apiVersion: v2\nname: x\nversion: 0.1.0\n").parent
    write("charts/llm-inference/templates/a.yaml", CLEAN)
    values = write("values/a.yaml", "x: 1\n").parent
    write("values/b.yaml", "x: 2\n")
    found = report(run("check", values, "--format", "json"))
    assert chart.is_dir()
    assert [each["name"] for each in found["releases"]] == ["a", "b"]


def test_presets_of_one_name_are_told_apart_by_their_paths(run: Run, write: Write, tiny: Path) -> None:
    one, two = write("one/a.yaml", "replicas: 1\n"), write("two/a.yaml", "replicas: 2\n")
    found = report(run("check", "--chart", tiny, one, two, "--format", "json"))
    assert [each["name"] for each in found["releases"]] == [str(one), str(two)]


def test_lists_are_taken_apart(run: Run) -> None:
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in "ab"]
    nested = {"apiVersion": "v1", "kind": "List", "items": [items[0], {"kind": "ConfigMapList", "items": [items[1]]}]}
    found = report(run("check", "-", "--format", "json", stdin=json.dumps(nested).encode()))
    assert found["releases"][0]["documents"] == 2


def test_json_objects_may_follow_one_another(run: Run) -> None:
    one = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}, indent=2)
    two = one.replace('"a"', '"b"')
    found = report(run("check", "-", "--format", "json", stdin=f"{one}\n{two}\n".encode()))
    assert found["releases"][0]["documents"] == 2


@pytest.mark.parametrize(("mode", "coloured"), [("always", True), ("never", False), ("auto", False)])
def test_color_has_three_modes(run: Run, mode: str, coloured: bool) -> None:
    result = run("check", "-", "--color", mode, stdin=FLOATING.encode())
    assert ("\033[" in result.stdout) is coloured


def test_no_color_is_honoured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream: Any = Terminal()
    assert terminal.paint_for(stream, "auto").enabled
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.paint_for(stream, "auto").enabled
    assert terminal.paint_for(stream, "always").enabled
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.paint_for(stream, "auto").enabled


def test_text_puts_the_worst_object_first() -> None:
    findings = (
        Finding("LLM110", Severity.NOTE, "note", "Deployment/a"),
        Finding("LLM112", Severity.ERROR, "error", "Service/z"),
    )
    shown = text.render(check.Result((check.ReleaseResult("r", 2, findings),)), Paint(enabled=False))
    assert shown.index("Service/z") < shown.index("Deployment/a")


def test_json_report_is_text_in_utf_8() -> None:
    finding = Finding("LLM001", Severity.ERROR, "größer", "A/b")
    assert "größer" in json_report.render(check.Result((check.ReleaseResult("r", 1, (finding,)),)))


def test_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "chartproof", "rules"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        stderr = process.stderr.read()
        assert process.wait(60) == 141
    assert not stderr


def test_interrupt_ends_quietly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "check", interrupt)
    result = run("check", "-", stdin=CLEAN.encode())
    assert (result.code, result.stderr) == (130, "interrupted\n")


def test_fault_of_ours_does_not_look_like_findings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(check, "check", fault)
    result = run("check", "-", stdin=CLEAN.encode())
    assert result.code == ExitCode.COULD_NOT_RUN
    assert "this is a fault in chartproof" in result.stderr


def test_manifests_may_come_through_a_pipe_with_a_name(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen([sys.executable, "-c", f"open({str(pipe)!r}, 'w').write({CLEAN!r})"]) as writer:
        result = run("check", pipe)
        writer.wait(60)
    assert result.code == ExitCode.CLEAN
    assert "1 document  clean" in result.stdout
