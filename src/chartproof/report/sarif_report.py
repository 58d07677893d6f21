"""The report of a check as SARIF 2.1.0, which code scanning reads.

The format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html; what GitHub wants of it:
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chartproof import __version__
from chartproof.check import ReleaseResult, Result
from chartproof.findings import Finding
from chartproof.report.place import place_of
from chartproof.reserved_rules import documented_rules
from chartproof.rules.registry import Rule

Body = dict[str, Any]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render(result: Result) -> str:
    """One run of one tool, with the rules that were broken."""
    broken = {finding.rule for each in result.releases for finding in each.findings}
    rules = [each for each in documented_rules() if each.id in broken]
    index = {each.id: number for number, each in enumerate(rules)}
    run = {
        "tool": {"driver": {"name": "chartproof", "version": __version__, "rules": [_rule(each) for each in rules]}},
        "invocations": [
            {
                "executionSuccessful": not result.failures,
                "toolExecutionNotifications": [
                    {"level": "error", "message": {"text": str(each.error)}} for each in result.failures
                ],
            }
        ],
        "results": [
            {**_result(finding, each), "ruleIndex": index[finding.rule]}
            for each in result.releases
            for finding in each.findings
        ],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rule(rule: Rule) -> Body:
    return {
        "id": rule.id,
        "name": rule.name,
        "shortDescription": {"text": rule.summary},
        "help": {"text": rule.documentation},
        # The names of SARIF's levels are those of our severities.
        "defaultConfiguration": {"level": str(rule.severity)},
    }


def _result(finding: Finding, release: ReleaseResult) -> Body:
    place = place_of(finding, release)
    location: Body = {
        "logicalLocations": [
            {"fullyQualifiedName": ".".join(filter(None, (finding.object, finding.path))), "kind": "resource"}
        ]
    }
    if place:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(place.file)},
            "region": {"startLine": place.line},
        }
    hint = f"\nfix: {finding.hint}" if finding.hint else ""
    return {
        "ruleId": finding.rule,
        "level": str(finding.severity),
        "message": {"text": f"{release.name}, {finding.object}: {finding.message}{hint}"},
        "locations": [location],
        "partialFingerprints": {"finding/v1": _fingerprint(finding, release)},
    }


def _uri(file: str) -> str:
    """Relative to where the program ran, which is the repository's root for who wants to see annotations in it."""
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(file)


def _fingerprint(finding: Finding, release: ReleaseResult) -> str:
    """The same for the same problem, wherever it has moved to in its file and whatever figures its message has."""
    what = json.dumps([release.name, finding.rule, finding.object, finding.path])
    return hashlib.sha256(what.encode()).hexdigest()
