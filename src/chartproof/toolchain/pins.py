"""What is pinned: the Go modules and Python packages under ci/toolchain and the programs they make."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from chartproof import resources
from chartproof.errors import ToolchainError, UsageError

BUILD_FLAGS = ("-mod=readonly", "-trimpath", "-buildvcs=false")
"""Flags of every build: nothing outside go.sum, no path of this machine in the program."""

Version = tuple[int, ...]

_RECIPE = 1
"""Raised when the way of building changes so that cached programs must be made again."""


def parse_version(text: str) -> Version:
    """`1.36.3` as numbers that compare; raises ValueError for anything else."""
    return tuple(int(part) for part in text.split("."))


@dataclass(frozen=True, slots=True)
class Program:
    """An executable and how to recognise a suitable one.

    `probe` are the arguments that print its version (empty: only ever built here), `pattern` what
    only this program's answer matches, `at_least` and `below` the versions that will do.
    """

    name: str
    module: str
    built: str
    probe: tuple[str, ...] = ()
    pattern: str = ""
    at_least: Version = ()
    below: Version = ()
    install: str = ""

    @property
    def variable(self) -> str:
        """The environment variable that names this program explicitly."""
        return f"CHARTPROOF_{self.name.upper().replace('-', '_')}"

    def suits(self, version: Version) -> bool:
        """Whether this version is one the harness is known to work with."""
        return self.at_least <= version < self.below

    @property
    def wanted(self) -> str:
        """The versions that will do, for messages."""
        return f">={_dotted(self.at_least)},<{_dotted(self.below)}" if self.below else "built here"


@dataclass(frozen=True, slots=True)
class Module:
    """A directory with go.mod and go.sum, from which one or more programs are built; or a Python program's pins.

    `version` is that of the programs, `go` the oldest Go that builds them, `tags` the build tags,
    `seconds` the duration of a build on two cores from an empty build cache, `optional` says that it
    is built only where asked for by name, `digest` names sources, pins, recipe and platform: programs
    of the same digest are interchangeable.
    """

    name: str
    directory: Path
    version: str
    go: Version
    ldflags: str
    tags: tuple[str, ...]
    seconds: int
    optional: bool
    programs: tuple[Program, ...]
    digest: str
    entry: str = ""
    """Of a Python program: the function that runs it, as `package:function`. Its pins are in requirements.txt."""

    def program(self, name: str) -> Program:
        """The program of this name; raises KeyError."""
        return {each.name: each for each in self.programs}[name]


@cache
def modules() -> Mapping[str, Module]:
    """Every module of ci/toolchain/programs.toml by its name, in the file's order."""
    root = resources.directory("toolchain")
    path = root / "programs.toml"
    with path.open("rb") as stream:
        described: dict[str, dict[str, Any]] = tomllib.load(stream)
    versions = {name: _program_version(root / name, entry) for name, entry in described.items()}
    return {name: _module(root / name, entry, versions) for name, entry in described.items()}


def programs() -> Mapping[str, Program]:
    """Every program by its name."""
    return {each.name: each for module in modules().values() for each in module.programs}


def usual() -> list[str]:
    """Names of the programs that nobody needs to ask for by name."""
    return [name for name, each in programs().items() if not modules()[each.module].optional]


def program(name: str) -> Program:
    """The program of this name; raises UsageError with the names that exist."""
    try:
        return programs()[name]
    except KeyError:
        raise UsageError(
            f"there is no program {name!r} in the toolchain",
            how=f"one of: {', '.join(programs())}",
        ) from None


def pinned(directory: Path) -> dict[str, str]:
    """Module paths and versions that go.mod in `directory` requires."""
    text = _read(directory / "go.mod")
    without_replacements = re.sub(r"^replace \(.*?^\)", "", text, flags=re.MULTILINE | re.DOTALL)
    line = re.compile(r"^(?:require)?\s+(\S+) (v\S+)", re.MULTILINE)
    return dict(line.findall(without_replacements))


def locked(directory: Path) -> dict[str, str]:
    """Python packages and versions that requirements.txt in `directory` locks."""
    line = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", re.MULTILINE)
    return dict(line.findall(_read(directory / "requirements.txt")))


def _module(directory: Path, entry: Mapping[str, Any], versions: Mapping[str, str]) -> Module:
    version = versions[directory.name]
    major, minor, *_ = version.split(".")
    names = {name: other for name, other in versions.items() if name != directory.name}
    flags = ("-s", "-w", *entry.get("ldflags", ()))
    ldflags = " ".join(flags).format(version=version, major=major, minor=minor, **names)
    tags = tuple(entry.get("tags", ()))
    entry_point = entry.get("entry", "")
    go = "" if entry_point else _read(directory / "go.mod")
    found = re.search(r"^go (\d+(?:\.\d+)*)$", go, re.MULTILINE)
    return Module(
        name=directory.name,
        directory=directory,
        version=version,
        go=parse_version(found[1]) if found else (),
        ldflags=ldflags,
        tags=tags,
        seconds=entry["seconds"],
        optional=entry.get("optional", False) or sys.platform not in entry.get("systems", [sys.platform]),
        programs=tuple(_program(name, directory.name, each) for name, each in entry["programs"].items()),
        digest=_digest(directory, ldflags, (*tags, *_interpreter(entry_point))),
        entry=entry_point,
    )


def _program(name: str, module: str, entry: Mapping[str, Any]) -> Program:
    return Program(
        name=name,
        module=module,
        built=entry.get("built", name),
        probe=tuple(entry.get("probe", ())),
        pattern=entry.get("pattern", ""),
        at_least=parse_version(entry["at_least"]) if "at_least" in entry else (),
        below=parse_version(entry["below"]) if "below" in entry else (),
        install=entry.get("install", ""),
    )


def _program_version(directory: Path, entry: Mapping[str, Any]) -> str:
    source = entry["source"]
    pins, file = (locked, "requirements.txt") if "entry" in entry else (pinned, "go.mod")
    try:
        version = pins(directory)[source].removeprefix("v")
    except KeyError:
        raise ToolchainError(f"{source} is not pinned", where=str(directory / file), how="require it there") from None
    if "version" in entry:
        pattern, replacement = entry["version"]
        return re.sub(pattern, replacement, version)
    return version


def _interpreter(entry: str) -> tuple[str, ...]:
    """What an installation of Python packages depends on beside them."""
    return (entry, str(Path(sys.executable).resolve()), sys.version) if entry else ()


def _digest(directory: Path, ldflags: str, tags: tuple[str, ...] = ()) -> str:
    """Name what a build of `directory` depends on.

    The Go version is left out on purpose: looking a program up must not need Go.
    """
    sources = sorted(each for each in directory.iterdir() if each.suffix in {".mod", ".sum", ".go", ".txt"})
    recipe = [_RECIPE, BUILD_FLAGS, ldflags, *tags, sys.platform, platform.machine()]
    content = [(each.name, hashlib.sha256(each.read_bytes()).hexdigest()) for each in sources]
    return hashlib.sha256(json.dumps([recipe, content]).encode()).hexdigest()[:16]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ToolchainError(f"cannot read the pins: {error.strerror}", where=str(path)) from error


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
