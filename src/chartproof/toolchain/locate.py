"""Where a program is taken from: the environment, the cache, PATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from chartproof.errors import ToolchainError
from chartproof.toolchain.builder import cached
from chartproof.toolchain.pins import Module, Program, Version, parse_version

_PROBE_SECONDS = 30


class Origin(StrEnum):
    """Where a program was found."""

    ENVIRONMENT = "environment"
    CACHE = "cache"
    PATH = "PATH"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Location:
    """A program's place and version; `note` says why a candidate was passed over."""

    program: Program
    origin: Origin
    path: Path | None = None
    version: str = ""
    note: str = ""


def locate(module: Module, program: Program) -> Location:
    """Find a program without building anything.

    An explicit environment variable must name the right program, of whatever version: that is the
    user's decision. Raises ToolchainError where it does not.
    """
    explicit = os.environ.get(program.variable)
    if explicit:
        return _explicit(program, explicit)
    place = cached(module, program)
    if place.exists():
        return Location(program, Origin.CACHE, place, module.version)
    found = shutil.which(program.name) if program.probe else None
    if found is None:
        return Location(program, Origin.MISSING)
    version, answer = probe(program, Path(found))
    if version and program.suits(version):
        return Location(program, Origin.PATH, Path(found), _dotted(version))
    problem = f"version {_dotted(version)}" if version else f"another program (says {answer!r})"
    note = f"{found} is {problem}, wanted is {program.wanted}"
    return Location(program, Origin.MISSING, note=note)


def probe(program: Program, path: Path) -> tuple[Version | None, str]:
    """Version of the executable at `path` (None: not this program) and what it answered."""
    try:
        result = subprocess.run(
            [str(path), *program.probe],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error)
    answer = f"{result.stdout}{result.stderr}".strip()
    match = re.search(program.pattern, answer, re.MULTILINE)
    return (parse_version(match[1]) if match else None), answer[:80]


def _explicit(program: Program, named: str) -> Location:
    where = f"${program.variable}"
    path = shutil.which(named)
    if path is None:
        raise ToolchainError(
            f"{named} does not exist or cannot be run",
            where=where,
            how=f"unset {program.variable}, or set it to the path of {program.name}",
        )
    if not program.probe:
        return Location(program, Origin.ENVIRONMENT, Path(path))
    version, answer = probe(program, Path(path))
    if version is None:
        raise ToolchainError(
            f"{named} is not {program.name}: it says {answer!r}",
            where=where,
            how=f"unset {program.variable}, or set it to the path of {program.name}",
        )
    return Location(program, Origin.ENVIRONMENT, Path(path), _dotted(version))


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
