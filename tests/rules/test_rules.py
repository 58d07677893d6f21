"""What holds for every rule: documentation, fixtures, and a mutation that trips it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from chartproof import manifests
from chartproof.findings import Finding
from chartproof.release import Release
from chartproof.reserved_rules import documented_rules
from chartproof.rules import Rule, all_rules, check_release
from chartproof.rules.registry import DOCUMENTATION_SECTIONS
from tests import presets
from tests.rules import mutation

HERE = Path(__file__).parent
#: Beside the folders of rules: whole deployments of other origin, which test_corpus.py judges.
OTHER_FOLDERS = {"__pycache__", "corpus"}
RULES = {each.id: each for each in all_rules()}
FAIL = sorted(HERE.glob("*/fail.*.yaml"))
PASS = sorted(HERE.glob("*/pass.*.yaml"))


def number_of_mutations(path: Path) -> int:
    try:
        return len(mutation.read(path))
    except mutation.MutationError:
        return 1  # the test itself tells what is wrong with the file


MUTATIONS = [
    pytest.param(path.parent.name, number, id=f"{path.parent.name}-mutation-{number + 1}")
    for path in sorted(HERE.glob("*/mutation.yaml"))
    for number in range(number_of_mutations(path))
]

by_documented_rule = pytest.mark.parametrize("rule", documented_rules(), ids=lambda each: each.id)


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@cache
def release_of(path: Path) -> Release:
    return manifests.read_files([path], name=path.stem)


def findings_of(rule: Rule, release: Release) -> list[Finding]:
    return check_release(release, (rule,))


def judged(path: Path) -> tuple[Release, list[Finding]]:
    """A fixture and what its rule says of it; it must hold an object that the rule looks at."""
    rule = RULES[path.parent.name]
    release = release_of(path)
    assert not rule.kinds or list(release.of_kind(*rule.kinds))
    return release, findings_of(rule, release)


@by_documented_rule
def test_documentation_has_a_summary_and_its_sections_in_order(rule: Rule) -> None:
    titles = re.findall(r"^([A-Z][A-Za-z ]+):$", rule.documentation, re.MULTILINE)
    assert tuple(titles) == DOCUMENTATION_SECTIONS
    assert all(rule.section(title) for title in DOCUMENTATION_SECTIONS)
    # The summary is one sentence.
    assert rule.summary.endswith(".")
    assert "\n" not in rule.summary
    assert 20 <= len(rule.summary) <= 160


def test_ids_and_names_are_unique() -> None:
    rules = documented_rules()
    assert len({each.id for each in rules}) == len(rules)
    assert len({each.name for each in rules}) == len(rules)


def test_every_rule_has_fail_and_pass_fixtures_and_a_mutation() -> None:
    for identifier in RULES:
        directory = HERE / identifier
        assert list(directory.glob("fail.*.yaml")), f"add {identifier}/fail.<why>.yaml"
        assert list(directory.glob("pass.*.yaml")), f"add {identifier}/pass.<why>.yaml"
        assert (directory / "mutation.yaml").is_file(), f"add {identifier}/mutation.yaml"


def test_every_folder_belongs_to_a_rule() -> None:
    folders = {each.name for each in HERE.iterdir() if each.is_dir() and each.name not in OTHER_FOLDERS}
    assert folders <= RULES.keys()


def test_every_file_of_a_folder_is_used() -> None:
    files = {each for each in HERE.glob("*/*") if each.parent.name not in OTHER_FOLDERS}
    used = {*FAIL, *PASS, *HERE.glob("*/mutation.yaml")}
    assert files == used


@pytest.mark.parametrize("path", FAIL, ids=name_of)
def test_rule_fires_on_its_fail_fixture_and_says_how_to_fix_it(path: Path) -> None:
    release, found = judged(path)
    assert found
    for each in found:
        assert each.message
        assert each.hint
        assert each.object in {document.identity for document in release.documents}


@pytest.mark.parametrize("path", PASS, ids=name_of)
def test_rule_is_silent_on_its_pass_fixture(path: Path) -> None:
    _, found = judged(path)
    assert not found


@pytest.mark.parametrize(("rule_id", "number"), MUTATIONS)
def test_mutation_of_a_good_preset_makes_the_rule_fire(rule_id: str, number: int) -> None:
    rule = RULES[rule_id]
    each = mutation.read(HERE / rule_id / "mutation.yaml")[number]
    assert not findings_of(rule, each.good())
    assert findings_of(rule, each.spoiled())


@pytest.mark.parametrize("stem", presets.STEMS)
def test_no_rule_finds_an_error_or_warning_in_a_preset(stem: str) -> None:
    found = [each for each in check_release(presets.render(stem)) if str(each.severity) != "note"]
    assert not found
