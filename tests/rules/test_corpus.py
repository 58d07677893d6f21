"""Whole deployments that other people could have written: no rule raises a false alarm on them.

The header of each file lists, after `# expect:`, the findings that are right (`nothing` where there is
none): what a rule reports beyond them is a false alarm.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chartproof import manifests
from chartproof.findings import Severity
from chartproof.rules import check_release
from chartproof.workload import engines_of

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.yaml"))

by_deployment = pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)


def expected(path: Path) -> set[str]:
    header = re.search(r"^# expect: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert header, f"{path.name} needs a line `# expect: <rule ids, or nothing>`"
    return set(re.findall(r"LLM\d{3}", header[1]))


def test_the_corpus_is_there() -> None:
    assert len(CORPUS) >= 3


@by_deployment
def test_a_deployment_of_the_corpus_runs_engines(path: Path) -> None:
    assert engines_of(manifests.read_files([path], name=path.stem))


@by_deployment
def test_no_rule_raises_a_false_alarm(path: Path) -> None:
    findings = check_release(manifests.read_files([path], name=path.stem))
    alarms = [each for each in findings if each.severity >= Severity.WARNING and each.rule not in expected(path)]
    assert not alarms
