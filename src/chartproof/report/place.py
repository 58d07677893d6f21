"""Where in a repository a finding is: formats for code review want a file and a line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from chartproof.check import ReleaseResult
from chartproof.findings import Finding

_IN_FILE = re.compile(r"(?P<file>.+):(?P<line>\d+)")


@dataclass(frozen=True, slots=True)
class Place:
    """A file, as it was named on the command line, and the line of the object in it (from 1)."""

    file: str
    line: int = 1


def place_of(finding: Finding, result: ReleaseResult) -> Place | None:
    """The manifest that was read, or the file to edit where it was rendered; None for standard input."""
    found = _IN_FILE.fullmatch(finding.source)
    place = Place(found["file"], int(found["line"])) if found else Place(result.origin)
    path = Path(place.file)
    if path.is_dir():
        path /= "Chart.yaml"
    return Place(path.as_posix(), place.line) if path.is_file() else None
