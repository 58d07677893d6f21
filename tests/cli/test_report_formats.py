"""`chartproof check --format sarif|junit|github`: findings where other systems show them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from chartproof import __version__
from chartproof.check import ReleaseResult, Result
from chartproof.errors import ExitCode
from chartproof.findings import Finding, Severity
from chartproof.report import github_report, junit_report, sarif_report
from chartproof.reserved_rules import documented_rules
from tests.cli.test_check import CLEAN, FLOATING

Run = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]

TWO = f"{CLEAN}---\n{FLOATING}"
LINE = 6
"""Of the pod in it."""


def results_of(report: str) -> list[dict[str, Any]]:
    (run,) = json.loads(report)["runs"]
    found: list[dict[str, Any]] = run["results"]
    for each in found:
        assert run["tool"]["driver"]["rules"][each["ruleIndex"]]["id"] == each["ruleId"]
    return found


def suites_of(report: str) -> dict[str, ET.Element]:
    """The suites by name, after their counts were compared with what is in them."""
    found = {each.get("name", ""): each for each in ET.fromstring(report.encode())}  # noqa: S314
    for each in found.values():
        for kind, tag in (("tests", "testcase"), ("failures", "testcase/failure"), ("errors", "testcase/error")):
            assert each.get(kind) == str(len(each.findall(tag)))
    return found


def test_sarif_has_the_rule_and_the_place_in_the_file(run: Run, write: Write) -> None:
    path = write("two manifests.yaml", TWO)
    result = run("check", path, "--select", "LLM007", "--format", "sarif")
    assert result.code == ExitCode.FINDINGS
    report = json.loads(result.stdout)
    assert report["version"] == "2.1.0"
    (ran,) = report["runs"]
    assert ran["tool"]["driver"]["version"] == __version__
    assert [each["id"] for each in ran["tool"]["driver"]["rules"]] == ["LLM007"]
    assert ran["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]
    (finding,) = results_of(result.stdout)
    assert finding["level"] == "error"
    assert "fix: " in finding["message"]["text"]
    assert finding["locations"] == [
        {
            "logicalLocations": [
                {"fullyQualifiedName": "Pod/a.spec.containers[0].image", "kind": "resource"},
            ],
            "physicalLocation": {
                "artifactLocation": {"uri": path.as_uri()},
                "region": {"startLine": LINE},
            },
        }
    ]
    assert "two%20manifests" in path.as_uri()


def test_sarif_names_relative_files_relatively(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write("a b.yaml", FLOATING)
    monkeypatch.chdir(tmp_path)
    (finding,) = results_of(run("check", "a b.yaml", "--select", "LLM007", "--format", "sarif").stdout)
    assert finding["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "a%20b.yaml"}


def test_a_rendered_finding_is_in_the_file_that_a_reader_would_edit(run: Run, write: Write, tiny: Path) -> None:
    values = write("values.yaml", "image: example.org/engine:latest\n")
    words = ("--select", "LLM007", "--format", "sarif")
    by_values = results_of(run("check", "--chart", tiny, "-f", values, *words).stdout)
    alone = results_of(run("check", tiny, "--set", "image=example.org/engine:latest", *words).stdout)
    for found, file in ((by_values, values), (alone, tiny / "Chart.yaml")):
        place = found[0]["locations"][0]["physicalLocation"]
        assert place == {"artifactLocation": {"uri": file.as_uri()}, "region": {"startLine": 1}}


def test_standard_input_is_no_file(run: Run) -> None:
    words = ("check", "-", "--select", "LLM007", "--format")
    (finding,) = results_of(run(*words, "sarif", stdin=FLOATING.encode()).stdout)
    assert "physicalLocation" not in finding["locations"][0]
    suite = suites_of(run(*words, "junit", stdin=FLOATING.encode()).stdout)["-"]
    assert suite[0].get("file") is None
    assert "::error title=LLM007 -%2C Pod/a::" in run(*words, "github", stdin=FLOATING.encode()).stdout


def test_a_fingerprint_stays_when_the_file_and_the_figures_change(run: Run, write: Write) -> None:
    words = ("check", "-", "--select", "LLM007", "--format", "sarif")
    (finding,) = results_of(run(*words, stdin=FLOATING.encode()).stdout)
    (moved,) = results_of(run(*words, stdin=TWO.replace("engine:latest", "other:latest").encode()).stdout)
    (other,) = results_of(run(*words, stdin=FLOATING.replace("name: a", "name: b").encode()).stdout)
    assert finding["message"] != moved["message"]
    assert finding["partialFingerprints"] == moved["partialFingerprints"] != other["partialFingerprints"]


def test_junit_fails_what_fails_the_command(run: Run, write: Write) -> None:
    path = write("two.yaml", TWO)
    clean = write("clean.yaml", CLEAN)
    result = run("check", path, clean, "missing.yaml", "--select", "LLM007", "--format", "junit")
    assert result.code == ExitCode.COULD_NOT_RUN
    suites = suites_of(result.stdout)
    (case,) = suites[str(path)]
    assert case.get("name") == "LLM007 floating-image-tag Pod/a spec.containers[0].image"
    assert (case.get("file"), case.get("line")) == (path.as_posix(), str(LINE))
    (failure,) = case
    assert failure.get("type") == "error"
    assert "fix: " in (failure.text or "")
    assert [each.get("name") for each in suites[str(clean)]] == ["no findings"]
    assert "no such file" in (suites["missing.yaml"][0][0].text or "")


RELEASE = ReleaseResult(
    "a",
    1,
    (
        Finding("LLM112", Severity.ERROR, "100 % wrong", "Deployment/a", "spec", "two\nlines"),
        Finding("LLM117", Severity.WARNING, "slow \x1b[31m<&", "Deployment/a"),
    ),
)


@pytest.mark.parametrize(("threshold", "failures"), [(Severity.ERROR, 1), (Severity.WARNING, 2)])
def test_junit_shows_what_is_below_the_threshold_without_failing_it(threshold: Severity, failures: int) -> None:
    suite = suites_of(junit_report.render(Result((RELEASE,)), threshold))["a"]
    assert len(suite) == len(RELEASE.findings)
    assert suite.get("failures") == str(failures)
    # What XML cannot write is replaced.
    assert "warning: slow \ufffd[31m<&" in "".join(suite[1].itertext())


def test_github_commands_survive_line_ends_percent_signs_and_commas() -> None:
    error, warning, summary = github_report.render(Result((RELEASE,))).splitlines()
    assert error == ("::error title=LLM112 a%2C Deployment/a::100 %25 wrong%0Aat spec%0Afix: two%0Alines")
    assert warning.startswith("::warning title=LLM117 a%2C Deployment/a::slow")
    assert summary == "1 release, 1 document: 1 error, 1 warning, 0 notes"


def test_every_severity_has_its_level_in_each_format() -> None:
    findings = tuple(replace(RELEASE.findings[0], severity=each) for each in Severity)
    result = Result((replace(RELEASE, findings=findings),))
    assert [each["level"] for each in results_of(sarif_report.render(result))] == ["note", "warning", "error"]
    commands = github_report.render(result).splitlines()[:-1]
    assert [each.split(" ")[0] for each in commands] == ["::notice", "::warning", "::error"]


def test_every_rule_can_be_described_in_sarif() -> None:
    findings = tuple(Finding(each.id, each.severity, "message", "Pod/a") for each in documented_rules())
    report = sarif_report.render(Result((replace(RELEASE, findings=findings),)))
    for each in json.loads(report)["runs"][0]["tool"]["driver"]["rules"]:
        assert each["shortDescription"]["text"]
        assert each["help"]["text"]
    assert len(results_of(report)) == len(findings)
