"""Everything `chartproof check` proves about releases: schemas, rules, suppressions."""

from __future__ import annotations

import contextlib
import datetime as dt
import difflib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from chartproof import suppression
from chartproof.errors import UsageError
from chartproof.findings import Finding, Severity
from chartproof.inputs import Failure
from chartproof.release import Release
from chartproof.reserved_rules import documented_rules
from chartproof.rules.registry import Rule, all_rules, check_release
from chartproof.schema import SchemaCheck, check_schemas

_SCHEMA_RULES = frozenset({"LLM012", "LLM013", "LLM014"})


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """What was found in one release: `documents` were looked at, `suppressed` findings accepted.

    `origin` is the preset, file or chart that it was made of.
    """

    name: str
    documents: int
    findings: tuple[Finding, ...]
    suppressed: int = 0
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What was found in all releases, and which inputs made none."""

    releases: tuple[ReleaseResult, ...]
    failures: tuple[Failure, ...] = ()

    def count(self, severity: Severity) -> int:
        """How many findings have exactly this severity."""
        return sum(finding.severity is severity for each in self.releases for finding in each.findings)

    @property
    def documents(self) -> int:
        """How many documents were looked at."""
        return sum(each.documents for each in self.releases)

    @property
    def suppressed(self) -> int:
        """How many findings were accepted by annotations."""
        return sum(each.suppressed for each in self.releases)

    def fails(self, threshold: Severity) -> bool:
        """Whether any finding is at or above the threshold."""
        return any(finding.severity >= threshold for each in self.releases for finding in each.findings)


def check(
    releases: Sequence[Release],
    *,
    selected: frozenset[str] | None = None,
    today: dt.date | None = None,
    failures: Sequence[Failure] = (),
    schemas: SchemaCheck | None = None,
) -> Result:
    """Check releases against the rules whose ids are `selected` (default: all).

    `today` decides which suppressions have expired (default: the system's date). `schemas` validates;
    by default the one of this process, which remembers documents it has seen.
    """
    ids = frozenset(each.id for each in documented_rules()) if selected is None else selected
    day = today or dt.datetime.now(tz=dt.UTC).date()
    rules = tuple(each for each in all_rules() if each.id in ids)
    with ThreadPoolExecutor(max_workers=1) as pool:
        # The rules run while kubeconform, another process, works.
        validating = pool.submit(_validate, releases if ids & _SCHEMA_RULES else (), schemas)
        judgements = [_judge(release, rules) for release in releases]
        violations = validating.result()
    results = []
    for release, (found, stumbled) in zip(releases, judgements, strict=True):
        _require_excuse(release, stumbled, schemas)
        found_by_schemas = [each for each in violations.get(release.name, []) if each.rule in ids]
        outcome = suppression.apply(release, [*found_by_schemas, *found], ids, day)
        ordered = sorted(outcome.findings, key=lambda each: (-each.severity, each.rule, each.object, each.path))
        results.append(
            ReleaseResult(release.name, len(release.documents), tuple(ordered), outcome.suppressed, release.origin)
        )
    return Result(tuple(results), tuple(failures))


Stumble = tuple[Rule, Exception]
"""A rule that could not judge a release, and where it fell."""


def _judge(release: Release, rules: tuple[Rule, ...]) -> tuple[list[Finding], list[Stumble]]:
    """Findings of the rules, and those that fell over the release.

    Rules read manifests as their schemas have them; what is of another type may stop one of them.
    """
    with contextlib.suppress(Exception):
        return check_release(release, rules), []
    found: list[Finding] = []
    stumbled: list[Stumble] = []
    for each in rules:
        try:
            found += check_release(release, (each,))
        except Exception as error:  # noqa: BLE001  (excused below where the schemas say why, raised otherwise)
            stumbled.append((each, error))
    return found, stumbled


def _require_excuse(release: Release, stumbled: Sequence[Stumble], schemas: SchemaCheck | None) -> None:
    """Raise what stopped a rule, unless the release violates its schemas, which is reported already."""
    if stumbled and not _validate([release], schemas)[release.name]:
        rule, error = stumbled[0]
        error.add_note(f"{rule.id} could not judge {release.name}")
        raise error


def _validate(releases: Sequence[Release], schemas: SchemaCheck | None) -> dict[str, list[Finding]]:
    if not releases:
        return {}
    return schemas.check(releases) if schemas else check_schemas(releases)


def select(chosen: Sequence[str], ignored: Sequence[str]) -> frozenset[str]:
    """The ids that `--select` and `--ignore` leave: ids, names, or the beginning of ids such as `LLM2`.

    Raises UsageError for a word that means no rule.
    """
    ids = {each.id for each in documented_rules()}
    kept = set().union(*map(_meaning, chosen)) if chosen else ids
    kept = kept.difference(*map(_meaning, ignored))
    if not kept:
        raise UsageError("no rule is left to run", where="--select and --ignore", how="ignore less than is selected")
    return frozenset(kept)


def find_rule(word: str) -> Rule:
    """The rule of this id or name. Raises UsageError with the closest ones."""
    rules = documented_rules()
    for each in rules:
        if word.upper() == each.id or word.lower() == each.name:
            return each
    known = {key: each for each in rules for key in (each.id, each.name)}
    close = [*difflib.get_close_matches(word.lower(), known, n=3), *difflib.get_close_matches(word.upper(), known, n=3)]
    offered = ", ".join(f"{known[key].id} {known[key].name}" for key in close[:3])
    how = f"did you mean {offered}?" if offered else "`chartproof rules` lists all"
    raise UsageError(f"there is no rule {word!r}", how=how)


def _meaning(word: str) -> set[str]:
    begun = {each.id for each in documented_rules() if each.id.startswith(word.upper())}
    return begun if begun and word.upper().startswith("LLM") else {find_rule(word).id}
