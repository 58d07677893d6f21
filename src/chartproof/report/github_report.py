"""The report of a check as commands that a GitHub workflow makes annotations of.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#setting-an-error-message
"""

from __future__ import annotations

from chartproof.check import ReleaseResult, Result
from chartproof.findings import Finding, Severity
from chartproof.report import text
from chartproof.report.place import place_of
from chartproof.report.terminal import Paint

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}


def render(result: Result) -> str:
    """A command for each finding and each input that made no release, and the summary line of the text report."""
    lines = [_annotation(finding, each) for each in result.releases for finding in each.findings]
    lines += [_command("error", {"title": each.name}, str(each.error)) for each in result.failures]
    return "\n".join([*lines, text.summary(result, Paint(enabled=False))]) + "\n"


def _annotation(finding: Finding, release: ReleaseResult) -> str:
    place = place_of(finding, release)
    properties = {"file": place.file, "line": str(place.line)} if place else {}
    properties["title"] = f"{finding.rule} {release.name}, {finding.object}"
    return _command(_COMMANDS[finding.severity], properties, finding.explanation)


def _command(name: str, properties: dict[str, str], message: str) -> str:
    written = ",".join(f"{key}={_escaped(value, ':,')}" for key, value in properties.items())
    return f"::{name} {written}::{_escaped(message)}"


def _escaped(value: str, more: str = "") -> str:
    """As the runner reads it back: the percent sign first, then line ends and what separates properties."""
    for character in f"%\r\n{more}":
        value = value.replace(character, f"%{ord(character):02X}")
    return value
