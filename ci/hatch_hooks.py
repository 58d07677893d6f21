"""Hooks of the package build: where its dependencies are written, and what data it carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

CARRIED = {
    "charts/llm-inference/files/catalog": "chartproof/data/catalog",
    "schemas": "chartproof/data/schemas",
    "ci/toolchain": "chartproof/data/toolchain",
    "charts/llm-inference/files/weights": "chartproof/data/weights",
}
"""What a checkout has beside the package and a wheel has inside it; `chartproof.resources` knows
both places."""


class DependenciesFromRequirements(MetadataHookInterface):
    """Fill `project.dependencies` from the file that the locks are made from."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Read the names, without comments, into the metadata of the wheel."""
        lines = Path(self.root, "requirements", "runtime.in").read_text(encoding="utf-8")
        names = (line.partition("#")[0].strip() for line in lines.splitlines())
        metadata["dependencies"] = [name for name in names if name]


class CarryData(BuildHookInterface[Any]):
    """Put catalog, schemas, toolchain pins and the weights script into a wheel, and not into an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Register the directories, unless the checkout itself is what gets installed."""
        if version == "standard":
            build_data["force_include"].update(
                {str(Path(self.root, source)): target for source, target in CARRIED.items()}
            )
