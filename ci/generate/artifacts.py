"""A committed file that is made from other files, and how it is written and compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class GenerationError(Exception):
    """A source of a generated file that cannot be used; says where and what to write."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One generated file, by its path from the repository's root; content None means there must be none."""

    path: Path
    content: str | None

    @property
    def current(self) -> str | None:
        """What is on disk; None where there is no file."""
        place = ROOT / self.path
        return place.read_text(encoding="utf-8") if place.is_file() else None

    @property
    def is_stale(self) -> bool:
        """Whether the file on disk differs."""
        return self.current != self.content

    def write(self) -> None:
        """Make the file, or remove it."""
        place = ROOT / self.path
        if self.content is None:
            place.unlink(missing_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(self.content, encoding="utf-8")


def between_markers(path: Path, name: str, content: str) -> str:
    """The text of a hand-written file with `content` between its markers for `name`.

    Raises GenerationError where the file or its markers are missing.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    text = (ROOT / path).read_text(encoding="utf-8")
    head, found_begin, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end):
        raise GenerationError(f"{path}: put the lines {begin} and {end} where the generated part goes")
    return f"{head}{begin}\n{content.strip()}\n{end}{tail}"


def cell(text: str) -> str:
    """Text that fits a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")
