"""The report of a check as JUnit's XML, which most systems of continuous integration show.

A suite is a release. Each finding is a test of it that failed, or passed with the finding as output where it is below
the threshold; a release without findings is one test that passed, and an input that made no release one with an error.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from chartproof.check import ReleaseResult, Result
from chartproof.findings import Finding, Severity
from chartproof.report.place import place_of
from chartproof.reserved_rules import documented_rules

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 has no way to write."""


def render(result: Result, threshold: Severity) -> str:
    """Every release and input, with findings from `threshold` on as failures."""
    suites = ET.Element("testsuites", name="chartproof check")
    names = {each.id: each.name for each in documented_rules()}
    for each in result.releases:
        failures = sum(finding.severity >= threshold for finding in each.findings)
        suite = _suite(suites, each.name, tests=max(1, len(each.findings)), failures=failures)
        if not each.findings:
            _case(suite, each.name, "no findings")
        for finding in each.findings:
            _finding(suite, finding, each, names, failed=finding.severity >= threshold)
    for failure in result.failures:
        suite = _suite(suites, failure.name, tests=1, errors=1)
        error = str(failure.error)
        _say(_case(suite, failure.name, "could not be checked"), "error", error.partition("\n")[0], error)
    ET.indent(suites)
    return str(ET.tostring(suites, encoding="utf-8", xml_declaration=True), "utf-8") + "\n"


def _suite(suites: ET.Element, name: str, *, tests: int, failures: int = 0, errors: int = 0) -> ET.Element:
    counts = {"tests": str(tests), "failures": str(failures), "errors": str(errors)}
    return ET.SubElement(suites, "testsuite", {"name": _clean(name), **counts})


def _finding(
    suite: ET.Element, finding: Finding, release: ReleaseResult, names: dict[str, str], *, failed: bool
) -> None:
    title = " ".join(filter(None, (finding.rule, names.get(finding.rule, ""), finding.object, finding.path)))
    case = _case(suite, release.name, title)
    place = place_of(finding, release)
    if place:
        case.set("file", _clean(place.file))
        case.set("line", str(place.line))
    text = f"{finding.severity}: {finding.explanation}"
    if failed:
        _say(case, "failure", finding.message, text).set("type", str(finding.severity))
    else:
        ET.SubElement(case, "system-out").text = _clean(text)


def _case(suite: ET.Element, release: str, title: str) -> ET.Element:
    return ET.SubElement(suite, "testcase", classname=_clean(release), name=_clean(title))


def _say(case: ET.Element, kind: str, message: str, text: str) -> ET.Element:
    found = ET.SubElement(case, kind, message=_clean(message))
    found.text = _clean(text)
    return found


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
