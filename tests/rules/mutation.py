"""Mutations: a good preset, spoiled in one place. CONTRIBUTING.md describes the format."""

from __future__ import annotations

import copy
import fnmatch
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonpatch

from chartproof import kubernetes_yaml
from chartproof.release import Document, Release
from tests import presets

_KEYS = {"preset", "values", "select", "patch", "drop", "edits", "documents"}
_SELECT_KEYS = {"kind", "name", "namespace"}
_STEP = re.compile(r"\[(?P<key>[^=\]]*)=(?P<value>[^\]]*)\](?P<after>\+\d+)?|(?P<plain>[^/]+)")


class MutationError(Exception):
    """A mutation file that does not fit its preset, or breaks the format."""


@dataclass(frozen=True)
class Edit:
    """What happens to the documents that `select` chooses: patched, or dropped where `patch` is None."""

    select: dict[str, str]
    patch: list[dict[str, Any]] | None


@dataclass(frozen=True)
class Mutation:
    """One document of a mutation file."""

    preset: str
    values: dict[str, Any]
    edits: tuple[Edit, ...]
    documents: tuple[dict[str, Any], ...]

    def good(self) -> Release:
        """The preset, with the mutation's own values."""
        return presets.render(self.preset, json.dumps(self.values))

    def spoiled(self) -> Release:
        """The preset after the edits. Raises MutationError where an edit finds nothing to change."""
        good = self.good()
        bodies = [copy.deepcopy(dict(each.body)) for each in good.documents]
        pairs = list(zip(good.documents, bodies, strict=True))
        for edit in self.edits:
            pairs = list(_apply(edit, pairs))
        found = [replace(document, body=body) for document, body in pairs]
        found += [Document(copy.deepcopy(body), "added by the mutation") for body in self.documents]
        return replace(good, documents=tuple(replace(each, index=i) for i, each in enumerate(found)))


def read(path: Path) -> list[Mutation]:
    """Every mutation of a file. Raises MutationError where the file breaks the format."""
    try:
        found = [body for _, body in kubernetes_yaml.documents(path.read_text(encoding="utf-8")) if body is not None]
    except kubernetes_yaml.YamlError as error:
        raise MutationError(f"{path}: {error}") from error
    if not found:
        raise MutationError(f"{path}: holds no mutation")
    return [_parse(body, path) for body in found]


def _parse(body: Any, path: Path) -> Mutation:
    if not isinstance(body, dict) or body.keys() - _KEYS:
        raise MutationError(f"{path}: a mutation is a mapping of {', '.join(sorted(_KEYS))}")
    if body.get("preset") not in presets.STEMS:
        raise MutationError(f"{path}: preset must be one of {', '.join(presets.STEMS)}")
    edits = [*body.get("edits", []), *([body] if "select" in body else [])]
    documents = body.get("documents", [])
    if not edits and not documents:
        raise MutationError(f"{path}: nothing is changed; give select, edits or documents")
    return Mutation(
        body["preset"], body.get("values") or {}, tuple(_edit(each, path) for each in edits), tuple(documents)
    )


def _edit(body: dict[str, Any], path: Path) -> Edit:
    select = body.get("select")
    if not isinstance(select, dict) or "kind" not in select or select.keys() - _SELECT_KEYS:
        raise MutationError(f"{path}: select is a mapping of kind, and of name and namespace where needed")
    if ("patch" in body) == (body.get("drop") is True):
        raise MutationError(f"{path}: select goes with either patch or `drop: true`")
    return Edit(select, None if body.get("drop") else body["patch"])


def _apply(edit: Edit, pairs: Sequence[tuple[Document, Any]]) -> Iterator[tuple[Document, Any]]:
    hits = 0
    for document, body in pairs:
        metadata = body.get("metadata") or {}
        written = {"kind": body.get("kind"), "name": metadata.get("name"), "namespace": metadata.get("namespace")}
        if not all(fnmatch.fnmatchcase(str(written[key]), wanted) for key, wanted in edit.select.items()):
            yield document, body
            continue
        hits += 1
        if edit.patch is not None:
            yield document, patched(body, edit.patch)
    if not hits:
        kinds = ", ".join(document.identity for document, _ in pairs)
        raise MutationError(f"{edit.select} selects nothing; the release has {kinds}")


def patched(body: Any, operations: Sequence[dict[str, Any]]) -> Any:
    """The body after JSON Patch operations whose paths may choose elements of lists by their content."""
    for operation in operations:
        resolved = dict(operation)
        for key in ("path", "from"):
            if key in operation:
                resolved[key] = _pointer(body, operation[key])
        try:
            body = (
                _substituted(body, resolved)
                if operation["op"] == "substitute"
                else jsonpatch.apply_patch(body, [resolved])
            )
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, KeyError) as error:
            raise MutationError(f"{operation}: {error}") from error
    return body


def _substituted(body: Any, operation: dict[str, Any]) -> Any:
    pointer = jsonpatch.JsonPointer(operation["path"])
    text = pointer.resolve(body)
    if not isinstance(text, str) or operation["find"] not in text:
        raise MutationError(f"{operation['path']} does not contain {operation['find']!r}")
    body = copy.deepcopy(body)
    pointer.set(body, text.replace(operation["find"], operation["with"]))
    return body


def _pointer(body: Any, path: str) -> str:
    """The JSON Pointer that a path means in this body."""
    steps: list[str] = []
    here = body
    for match in _STEP.finditer(path):
        step = match["plain"] or str(_index(here, match, path))
        steps.append(step)
        here = _child(here, step)
    return "".join(f"/{step}" for step in steps)


def _index(here: Any, match: re.Match[str], path: str) -> int:
    if not isinstance(here, list):
        raise MutationError(f"{path}: {match[0]} needs a list there")
    key, wanted = match["key"], match["value"]
    for index, element in enumerate(here):
        value = element.get(key) if key and isinstance(element, dict) else element if not key else None
        if isinstance(value, str | int) and fnmatch.fnmatchcase(str(value), wanted):
            return index + int(match["after"] or 0)
    raise MutationError(f"{path}: no element is {match[0]}; there are {json.dumps(here)[:400]}")


def _child(here: Any, step: str) -> Any:
    if isinstance(here, dict):
        return here.get(step.replace("~1", "/").replace("~0", "~"))
    if isinstance(here, list) and step.isdigit() and int(step) < len(here):
        return here[int(step)]
    return None
