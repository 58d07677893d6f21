"""The report of a check for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from chartproof.check import ReleaseResult, Result
from chartproof.findings import Finding, Severity
from chartproof.report.terminal import Paint
from chartproof.reserved_rules import documented_rules


def render(result: Result, paint: Paint) -> str:
    """Findings by release and object, most severe first, and a summary line."""
    lines = [line for each in result.releases for line in _release(each, paint)]
    lines += [_failure(each.name, paint) for each in result.failures]
    return "\n".join([*lines, "", summary(result, paint)]) + "\n"


def summary(result: Result, paint: Paint) -> str:
    """Counts on one line."""
    counts = [_count(result, severity, paint) for severity in sorted(Severity, reverse=True)]
    line = f"{_plural(len(result.releases), 'release')}, {_plural(result.documents, 'document')}: {', '.join(counts)}"
    if result.suppressed:
        line += f", {result.suppressed} suppressed"
    if result.failures:
        line += f"; {paint(f'{len(result.failures)} could not be made', 'red', 'bold')}"
    return line


def _release(result: ReleaseResult, paint: Paint) -> Iterator[str]:
    verdict = "" if result.findings else f"  {paint('clean', 'green')}"
    yield f"{paint(result.name, 'bold')}  {_plural(result.documents, 'document')}{verdict}"
    names = {each.id: each.name for each in documented_rules()}
    by_object = sorted(result.findings, key=lambda each: each.object)
    groups = [(name, list(found)) for name, found in groupby(by_object, key=lambda each: each.object)]
    for name, found in sorted(groups, key=lambda group: -max(each.severity for each in group[1])):
        yield f"  {paint(name, 'bold')}"
        for finding in found:
            yield from _finding(finding, names.get(finding.rule, ""), paint)


def _finding(finding: Finding, name: str, paint: Paint) -> Iterator[str]:
    severity = paint.severity(finding.severity, f"{finding.severity!s:7}")
    yield f"    {severity} {finding.rule} {paint(name, 'dim')}"
    yield f"      {finding.message}"
    if finding.path:
        yield f"      {paint(f'at {finding.path}', 'dim')}"
    if finding.hint:
        yield f"      fix: {finding.hint}"


def _failure(name: str, paint: Paint) -> str:
    return f"{paint(name, 'bold')}  {paint('could not be checked', 'red', 'bold')}, see the message above"


def _count(result: Result, severity: Severity, paint: Paint) -> str:
    number = result.count(severity)
    text = _plural(number, str(severity))
    return paint.severity(severity, text) if number else text


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
