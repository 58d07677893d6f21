"""Which command-line options an engine version knows, and what they take.

The tables under `data/` say, per engine, since which release an option exists, until which one it
was seen, how many values it takes and which ones are legal. They were made from the engines' own
argument parsers; each file names its source.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any

from chartproof.versions import Version, parse_version

#: Spellings of a negated boolean other than `--no-...` are generated from this vLLM release on.
_PAIRED_NEGATIONS_SINCE: Version = (0, 33, 0)
#: An unknown name this similar to a known one is a typing mistake, also on versions we have no table for.
_TYPO_SIMILARITY = 0.88
#: Options that are always there, whatever the table says: every argparse program has them.
_ALWAYS = frozenset({"--help", "-h", "--version", "-v"})


class Verdict(Enum):
    """What a version makes of an option."""

    KNOWN = "known"
    UNKNOWN = "unknown"
    ABBREVIATED = "abbreviated"
    REMOVED = "removed"
    TOO_NEW = "too new"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class OptionFacts:
    """One option: `values` is how many it takes (0: a boolean; `"+"`, `"*"`, `"?"` as argparse means them).

    `type` is int, float, humanInt (`8k`), json or empty (text); `since` the first compared release
    that has it (None: all), `negations` further spellings that switch a boolean off.
    """

    name: str
    values: int | str
    type: str = ""
    choices: tuple[str, ...] = ()
    since: Version | None = None
    aliases: tuple[str, ...] = ()
    negations: tuple[str, ...] = ()
    deprecated: bool = False

    @property
    def boolean(self) -> bool:
        """Whether it takes no value."""
        return self.values == 0


@dataclass(frozen=True, slots=True)
class RemovedOption:
    """An option of older releases: `last_seen` is the last compared one that has it.

    `again` is the release from which the spelling is accepted once more (None: never), `instead` what
    to write.
    """

    name: str
    since: Version | None
    last_seen: Version
    instead: str = ""
    again: Version | None = None


@dataclass(frozen=True, slots=True)
class LegalValues:
    """Values that the engine checks itself, after parsing: legal, deprecated, and removed after a release."""

    legal: frozenset[str]
    deprecated: frozenset[str] = frozenset()
    removed: Mapping[str, RemovedOption] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Answer for one spelling: the verdict, the option it means, what was probably meant, where it ends."""

    verdict: Verdict
    facts: OptionFacts | None = None
    suggestion: str = ""
    removed: RemovedOption | None = None


@dataclass(frozen=True)
class OptionTable:
    """All options of one engine. `releases` are those that were compared, oldest first."""

    engine: str
    newest: Version
    releases: tuple[Version, ...]
    options: Mapping[str, OptionFacts]
    removed: Mapping[str, RemovedOption]
    values: Mapping[str, LegalValues]
    spellings: Mapping[str, OptionFacts]

    def canonical(self, name: str) -> OptionFacts | None:
        """The option that a spelling (alias, short name, negation, dotted JSON key) means, or None."""
        return self.spellings.get(_base(name))

    def look_up(self, name: str, version: Version | None) -> Lookup:
        """What `version` (None: not known) makes of an option spelled `name`.

        UNDECIDED where no compared release tells: the program is newer than the table, lies between
        two compared releases, or its version is unknown and only some have the option.
        """
        spelled = _base(name)
        if spelled in _ALWAYS:
            return Lookup(Verdict.KNOWN)
        removed = self.removed.get(spelled)
        facts = self.spellings.get(spelled)
        if removed is not None and not self._is_back(removed, version):
            return self._of_removed(removed, version)
        if facts is not None:
            return self._of_known(spelled, facts, version)
        return self._of_unknown(spelled, version)

    def arity(self, name: str) -> int | str | None:
        """How many values an option takes; None where it is unknown."""
        facts = self.canonical(name)
        return None if facts is None else facts.values

    def _is_back(self, removed: RemovedOption, version: Version | None) -> bool:
        return removed.again is not None and (version is None or version >= removed.again)

    def _of_removed(self, removed: RemovedOption, version: Version | None) -> Lookup:
        if version is None:
            return Lookup(Verdict.UNDECIDED, removed=removed)
        gone = next((each for each in self.releases if each > removed.last_seen), None)
        if gone is not None and version >= gone:
            return Lookup(Verdict.REMOVED, removed=removed)
        return Lookup(Verdict.KNOWN if version <= removed.last_seen else Verdict.UNDECIDED, removed=removed)

    def _of_known(self, spelled: str, facts: OptionFacts, version: Version | None) -> Lookup:
        if version is None:
            return Lookup(Verdict.KNOWN, facts)
        paired = spelled in facts.negations and not spelled.startswith("--no-")
        if paired and version < _PAIRED_NEGATIONS_SINCE:
            positive = facts.name.removeprefix("--")
            return Lookup(Verdict.TOO_NEW, facts, suggestion=f"--no-{positive}")
        if facts.since is not None and version < facts.since:
            before = max((each for each in self.releases if each < facts.since), default=None)
            undecided = before is None or version > before
            return Lookup(Verdict.UNDECIDED if undecided else Verdict.TOO_NEW, facts)
        return Lookup(Verdict.KNOWN, facts)

    def _of_unknown(self, spelled: str, version: Version | None) -> Lookup:
        if spelled.startswith("--"):
            longer = sorted(each for each in self.spellings if each.startswith(spelled))
            if longer and len({self.spellings[each].name for each in longer}) == 1:
                return Lookup(Verdict.ABBREVIATED, self.spellings[longer[0]], suggestion=longer[0])
        close = difflib.get_close_matches(spelled, [*self.spellings, *self.removed], n=1, cutoff=0.75)
        suggestion = close[0] if close else ""
        likeness = difflib.SequenceMatcher(None, spelled, suggestion).ratio() if suggestion else 0.0
        covered = version is None or self.releases[0] <= version <= self.newest
        complete = len(self.releases) > 1 and covered
        if complete or version == self.newest or likeness >= _TYPO_SIMILARITY:
            return Lookup(Verdict.UNKNOWN, suggestion=suggestion)
        return Lookup(Verdict.UNDECIDED, suggestion=suggestion)


def _base(name: str) -> str:
    """The option of a dotted JSON key (`--kv-transfer-config.kv_role`) or an optimization level (`-O2`)."""
    if name.startswith("-O") and not name.startswith("--"):
        return "--optimization-level"
    return name.partition(".")[0]


@cache
def option_table(engine: str) -> OptionTable:
    """The table of an engine (`vllm` or `sglang`); KeyError for any other."""
    if engine not in {"vllm", "sglang"}:
        raise KeyError(engine)
    text = resources.files("chartproof").joinpath(f"data/{engine}_options.json").read_text(encoding="utf-8")
    data: Mapping[str, Any] = json.loads(text)
    options = {name: _option(name, facts) for name, facts in data["options"].items()}
    spellings = {
        spelled: facts for facts in options.values() for spelled in (facts.name, *facts.aliases, *facts.negations)
    }
    return OptionTable(
        engine=engine,
        newest=_version(data["newest"]),
        releases=tuple(_version(each) for each in data["releases"]),
        options=options,
        removed={name: _removed(name, facts) for name, facts in data["removed"].items()},
        values={
            name: LegalValues(
                frozenset(facts["legal"]),
                frozenset(facts.get("deprecated", ())),
                {value: _removed(value, each) for value, each in facts["removed"].items()},
            )
            for name, facts in data["values"].items()
        },
        spellings=spellings,
    )


def _option(name: str, facts: Mapping[str, Any]) -> OptionFacts:
    return OptionFacts(
        name=name,
        values=facts["values"],
        type=facts.get("type", ""),
        choices=tuple(facts.get("choices", ())),
        since=_version(facts["since"]) if "since" in facts else None,
        aliases=tuple(facts.get("aliases", ())),
        negations=tuple(facts.get("negations", ())),
        deprecated=facts.get("deprecated", False),
    )


def _removed(name: str, facts: Mapping[str, Any]) -> RemovedOption:
    return RemovedOption(
        name=name,
        since=_version(facts["since"]) if "since" in facts else None,
        last_seen=_version(facts["lastSeen"]),
        instead=facts.get("instead", ""),
        again=_version(facts["again"]) if "again" in facts else None,
    )


def _version(text: str) -> Version:
    parsed = parse_version(text)
    if parsed is None:
        raise ValueError(f"{text!r} in the option table is no version")
    return parsed
