"""The pinned CustomResourceDefinitions, copied once out of Go's module cache, and those written by hand."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from chartproof import resources
from chartproof.errors import ToolchainError
from chartproof.toolchain import golang
from chartproof.toolchain.builder import environment
from chartproof.toolchain.pins import parse_version
from chartproof.toolchain.progress import showing
from chartproof.toolchain.store import exclusive, fresh_directory, home

_VARIABLE = "CHARTPROOF_CRDS"
_GO = parse_version("1.26")
_SECONDS = 60
"""Downloading the five modules (16 MB) on a slow line."""


def directory() -> Path:
    """A directory with one YAML file per definition.

    `$CHARTPROOF_CRDS` where set, else the cache, else a download of the modules pinned in
    ci/toolchain/crds. Raises ToolchainError where none of these works.
    """
    explicit = os.environ.get(_VARIABLE)
    if explicit:
        if not any(Path(explicit).glob("*.yaml")):
            raise ToolchainError("no *.yaml files there", where=f"${_VARIABLE} ({explicit})", how=f"unset {_VARIABLE}")
        return Path(explicit)
    pins = resources.directory("toolchain") / "crds"
    target = home() / "crds" / _digest(pins)
    if not target.exists():
        with exclusive(target):
            if not target.exists():
                _copy(pins, target)
    return target


def _copy(pins: Path, target: Path) -> None:
    with (pins / "files.toml").open("rb") as stream:
        wanted: dict[str, dict[str, Any]] = tomllib.load(stream)
    go = golang.find(_GO)
    with (
        showing("fetching CustomResourceDefinitions", expected_seconds=_SECONDS),
        fresh_directory(target) as scratch,
    ):
        # Of kinds that nobody publishes a definition of.
        for path in pins.glob("*.yaml"):
            shutil.copyfile(path, scratch / path.name)
        sources = _download(pins, go, list(wanted))
        for module, entry in wanted.items():
            for name in entry["files"]:
                # Only the content: files of the module cache are read-only.
                shutil.copyfile(sources[module] / entry["directory"] / name, scratch / name)


def _download(pins: Path, go: golang.Go, modules: list[str]) -> dict[str, Path]:
    result = subprocess.run(
        [str(go.command), "mod", "download", "-json", *modules],
        cwd=pins,
        env=environment(go),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise ToolchainError(
            f"go mod download failed: {result.stderr.strip() or result.stdout.strip()}",
            where=str(pins),
            how=f"check the network and GOPROXY, or point {_VARIABLE} at a directory of CRDs",
        )
    return {each["Path"]: Path(each["Dir"]) for each in _objects(result.stdout)}


def _objects(stream: str) -> list[dict[str, Any]]:
    """The JSON objects that follow each other in `stream`."""
    decoder = json.JSONDecoder()
    found = []
    rest = stream.lstrip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].lstrip()
    return found


def _digest(pins: Path) -> str:
    sources = sorted(each for each in pins.iterdir() if each.is_file())
    content = [(each.name, hashlib.sha256(each.read_bytes()).hexdigest()) for each in sources]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
