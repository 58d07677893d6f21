"""Which schemas there are, and where."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from chartproof import resources

_API_VERSION = re.compile(r"(?:(?P<group>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)/)?(?P<version>[a-z0-9]+)")
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]*")

CORE = "core"
"""Directory of the group that has no name."""


class SchemaStore:
    """The directory `schemas/`: one file `<group>/<kind in lower case>_<version>.json` per kind."""

    def __init__(self, directory: Path | None = None) -> None:
        """Use `directory`, or the schemas that belong to this chartproof."""
        self.directory = directory or resources.directory("schemas")
        self._inlined: dict[Path, dict[str, Any]] = {}

    @property
    def location(self) -> str:
        """The directory's layout as kubeconform's -schema-location wants it."""
        # kubeconform calls the core group by its version: apiVersion v1 gives group v1.
        group = f"{{{{if eq .Group .ResourceAPIVersion}}}}{CORE}{{{{else}}}}{{{{.Group}}}}{{{{end}}}}"
        return f"{self.directory}/{group}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json"

    @cached_property
    def files(self) -> Mapping[tuple[str, str], Path]:
        """Every schema's file by apiVersion and kind in lower case."""
        found: dict[tuple[str, str], Path] = {}
        for path in sorted(self.directory.glob("*/*.json")):
            kind, _, version = path.stem.partition("_")
            group = path.parent.name
            found[version if group == CORE else f"{group}/{version}", kind] = path
        return found

    def find(self, api_version: str, kind: str) -> Path | None:
        """The schema's file, or None. The kind's case is left to the schema, which demands it."""
        return self.files.get((api_version, kind.lower()))

    def load(self, path: Path) -> dict[str, Any]:
        """Read one schema."""
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]

    def inlined(self, path: Path) -> dict[str, Any]:
        """One schema without references, read once; not to be changed."""
        if path not in self._inlined:
            self._inlined[path] = _inlined(self.load(path))
        return self._inlined[path]

    def hint(self, api_version: str, kind: str) -> str:
        """What the author of an unknown apiVersion and kind probably meant, or what to do about it."""
        if not kind or not api_version:
            missing = {"apiVersion": api_version, "kind": kind}
            return f"every object needs {' and '.join(name for name, value in missing.items() if not value)}"
        if kind.endswith("List"):
            return "write the items of the list as documents of their own, separated by `---`"
        if not _API_VERSION.fullmatch(api_version) or not _KIND.fullmatch(kind):
            return "write apiVersion as <group>/<version> and kind in CamelCase"
        same_kind = sorted(known for known, name in self.files if name == kind.lower())
        if same_kind:
            return f"{kind} is served as {' or '.join(same_kind)}"
        in_group = {name: known for known, name in self.files if known == api_version}
        candidates = in_group or {name: known for known, name in self.files}
        close = get_close_matches(kind.lower(), candidates, n=1)
        if close:
            known = candidates[close[0]]
            return f"did you mean {self._spelled(known, close[0])} of {known}?"
        return "chartproof has no schema of this kind: check its spelling, or leave it out of what is checked"

    def _spelled(self, api_version: str, kind: str) -> str:
        """A kind in CamelCase."""
        return str(self.load(self.files[api_version, kind])["properties"]["kind"]["enum"][0])


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with every reference replaced by the very object it refers to.

    Nothing is copied, and definitions that contain themselves stay finite. Hints can then walk the
    schema as if it had no references, and jsonschema has none to look up.
    """
    definitions: dict[str, dict[str, Any]] = schema.get("definitions", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, list):
            for index, each in enumerate(part):
                part[index] = resolve(each)
        elif isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str):
                return definitions[reference.rpartition("/")[2]]
            for key, value in part.items():
                part[key] = resolve(value)
        return part

    for name, definition in definitions.items():
        definitions[name] = resolve(definition)
    resolve(schema["properties"])
    return schema
