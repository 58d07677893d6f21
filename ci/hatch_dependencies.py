"""Build hook: the package's dependencies are the lines of requirements/runtime.in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class DependenciesFromRequirements(MetadataHookInterface):
    """Fill `project.dependencies` from the file that the locks are made from."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Read the names, without comments, into the metadata of the wheel."""
        lines = Path(self.root, "requirements", "runtime.in").read_text(encoding="utf-8")
        names = (line.partition("#")[0].strip() for line in lines.splitlines())
        metadata["dependencies"] = [name for name in names if name]
