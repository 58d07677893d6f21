"""Bottlerocket user data (TOML), judged as the operating system and Karpenter read it.

The table `data/bottlerocket_settings.json` names its sources. Bottlerocket refuses unknown or
wrongly typed settings at boot, and the node never joins; Karpenter rewrites `settings.kubernetes`
from a list of keys that it knows and passes every other table on.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from chartproof.versions import Version, parse_version

#: `10 mb` is refused: the settings model allows no space. Source: settings-sdk, container-runtime-plugins.
_SIZE = re.compile(r"\d*\.?\d+([kmgtpe]i?b?|b)?", re.IGNORECASE)
_SIMILAR = 0.75
_TYPES: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "string": (str,),
    "percent": (str, int),
    "size": (str, int),
    "list": (list,),
    "table": (dict,),
}


class BottlerocketError(ValueError):
    """User data that is no TOML; the message is the parser's, with line and column."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value under `settings`: its path without that word, and the value."""

    path: tuple[str, ...]
    value: Any

    @property
    def group(self) -> str:
        """First word of the path, such as `kubernetes`."""
        return self.path[0]

    def __str__(self) -> str:
        return ".".join(("settings", *self.path))


@dataclass(frozen=True, slots=True)
class SettingFacts:
    """What the operating system expects of a setting.

    `since` is the first documented version; `type` one of boolean, integer, string, percent, size,
    list, table or any; `values` the legal ones, empty where any goes.
    """

    since: Version
    type: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UserData:
    """Parsed user data: `settings` in order, and the top-level tables that are not `settings`."""

    settings: tuple[Setting, ...]
    strays: tuple[str, ...]

    def get(self, *path: str) -> Any:
        """Value of a setting, None where absent."""
        return next((each.value for each in self.settings if each.path == path), None)

    def has(self, *path: str) -> bool:
        """Whether a setting is there, or one below it."""
        return any(each.path[: len(path)] == path for each in self.settings)


def parse_user_data(text: str) -> UserData:
    """Parse user data. Raises BottlerocketError where it is no TOML."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise BottlerocketError(str(problem)) from problem
    settings = document.get("settings", {})
    found = tuple(_leaves(settings, ())) if isinstance(settings, dict) else ()
    return UserData(found, tuple(key for key in document if key != "settings"))


def _leaves(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[Setting]:
    for key, value in table.items():
        here = (*path, key)
        facts = setting_facts(here)
        if isinstance(value, dict) and facts is None:
            yield from _leaves(value, here)
        else:
            yield Setting(here, value)


@cache
def _table() -> tuple[dict[tuple[str, ...], SettingFacts], dict[str, str], frozenset[str], Version]:
    data = json.loads(resources.files("chartproof.data").joinpath("bottlerocket_settings.json").read_text("utf-8"))
    facts = {
        tuple(key.split(".")): SettingFacts(
            parse_version(entry["since"]) or (0, 0, 0), entry["type"], tuple(entry.get("values", ()))
        )
        for key, entry in data["settings"].items()
    }
    return facts, data["karpenterKubernetes"], frozenset(data["gpuOnly"]), parse_version(data["newest"]) or (0, 0, 0)


def setting_facts(path: tuple[str, ...]) -> SettingFacts | None:
    """Facts of a setting, or None where the table has none."""
    table = _table()[0]
    if path in table:
        return table[path]
    for pattern, facts in table.items():
        if len(pattern) == len(path) and all(word in ("*", mine) for word, mine in zip(pattern, path, strict=True)):
            return facts
    return None


def is_known_group(group: str) -> bool:
    """Whether any setting of this group is known."""
    return any(path[0] == group for path in _table()[0])


def newest_version() -> Version:
    """The newest version that the table knows settings of."""
    return _table()[3]


def gpu_only(group: str) -> bool:
    """Whether the group exists only on the nvidia variants."""
    return group in _table()[2]


def similar_setting(path: tuple[str, ...]) -> str:
    """The most similar known setting as a dotted path, or empty."""
    known = [".".join(("settings", *each)) for each in _table()[0]]
    found = difflib.get_close_matches(".".join(("settings", *path)), known, n=1, cutoff=_SIMILAR)
    return found[0] if found else ""


def dropped_by_karpenter(setting: Setting) -> bool:
    """Whether Karpenter leaves this setting of `settings.kubernetes` out of the user data it writes."""
    return setting.group == "kubernetes" and len(setting.path) > 1 and setting.path[1] not in _table()[1]


def type_problem(setting: Setting) -> str:
    """What is wrong with the type or value, as a phrase (`is an integer, must be a string`), or empty.

    Karpenter's own types count for `settings.kubernetes`: it decodes them strictly and launches nothing
    otherwise.
    """
    facts = setting_facts(setting.path)
    wanted = facts.type if facts is not None else "any"
    if setting.group == "kubernetes" and len(setting.path) == 2:  # noqa: PLR2004 - settings.kubernetes.<key>
        wanted = _table()[1].get(setting.path[1], wanted)
    accepted = _TYPES.get(wanted)
    value = setting.value
    if accepted is not None and (not isinstance(value, accepted) or (isinstance(value, bool) and bool not in accepted)):
        return f"is {_article(value)}, must be {_article_of(wanted)}"
    if facts is not None and facts.values and isinstance(value, str) and value not in facts.values:
        return f"is {value!r}, must be one of {', '.join(facts.values)}"
    return ""


def size_problem(setting: Setting) -> str:
    """What is wrong with a byte size such as a chunk size, or empty."""
    facts = setting_facts(setting.path)
    if facts is None or facts.type != "size" or not isinstance(setting.value, str) or setting.value == "unlimited":
        return ""
    if _SIZE.fullmatch(setting.value):
        return ""
    return f"{setting.value!r} is not a size: write number and unit without a space, such as 16mb"


def _article(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), "a value of another type")


def _article_of(wanted: str) -> str:
    return {"integer": "an integer", "size": "a size", "percent": "a string"}.get(wanted, f"a {wanted}")
