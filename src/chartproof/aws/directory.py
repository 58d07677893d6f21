"""Writes policies as files: all of them, each whole, or none."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chartproof.aws.target import file_name
from chartproof.errors import InputError

_READABLE = 0o644


def write(out: Path, releases: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Write the files of each release below `out/<release>`, replacing what has the same name; returns their paths.

    Everything is first written beside the goal, then renamed into it: a full disk leaves what was there, and no
    reader meets half a policy. Raises InputError where the directory cannot be made or written to.
    """
    written: list[Path] = []
    staging: Path | None = None
    try:
        out.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".aws-prerequisites-", dir=out))
        moves: list[tuple[Path, Path]] = []
        for release, files in releases.items():
            directory = file_name(release)
            (staging / directory).mkdir()
            for name, content in files.items():
                prepared = staging / directory / name
                prepared.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
                prepared.chmod(_READABLE)
                moves.append((prepared, out / directory / name))
        for release in releases:
            (out / file_name(release)).mkdir(exist_ok=True)
        for prepared, goal in moves:
            prepared.replace(goal)
            written.append(goal)
    except OSError as error:
        raise InputError(
            f"cannot write: {error.strerror or error}", where=str(out), how="give --out a directory you may write to"
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return written
