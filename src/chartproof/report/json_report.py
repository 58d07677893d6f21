"""The report of a check for programs; docs/check-report.schema.json describes it."""

from __future__ import annotations

import json
from typing import Any

from chartproof.check import Result
from chartproof.findings import Finding, Severity


def render(result: Result) -> str:
    """One JSON object: releases with findings, inputs that made no release, counts."""
    return json.dumps(as_json(result), indent=2, ensure_ascii=False) + "\n"


def as_json(result: Result) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "releases": [
            {"name": each.name, "documents": each.documents, "findings": [_finding(found) for found in each.findings]}
            for each in result.releases
        ],
        "errors": [{"name": each.name, "message": str(each.error)} for each in result.failures],
        "summary": {
            "releases": len(result.releases),
            "documents": result.documents,
            "errors": result.count(Severity.ERROR),
            "warnings": result.count(Severity.WARNING),
            "notes": result.count(Severity.NOTE),
            "suppressed": result.suppressed,
            "failed": len(result.failures),
        },
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "rule": finding.rule,
        "severity": str(finding.severity),
        "message": finding.message,
        "object": finding.object,
        "path": finding.path,
        "hint": finding.hint,
    }
