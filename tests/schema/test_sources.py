from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof.schema import SchemaStore

ROOT = Path(__file__).parents[2]
LOCK = yaml.safe_load((ROOT / "schemas/sources.lock.yaml").read_text(encoding="utf-8"))
PINS = [*ROOT.glob("ci/toolchain/*/go.mod"), *ROOT.glob("ci/generate/*/go.mod")]


def schema_nodes(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every schema within a schema; names of fields and definitions are none."""
    yield part
    for keyword, value in part.items():
        if keyword in {"properties", "patternProperties", "definitions"}:
            children = list(value.values())
        elif keyword in {"allOf", "anyOf", "oneOf"}:
            children = value
        else:
            children = [value] if keyword in {"items", "additionalProperties", "not"} else []
        for child in children:
            if isinstance(child, dict):
                yield from schema_nodes(child)


def test_every_generated_file_has_the_locked_hash() -> None:
    actual = {path: hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in LOCK["outputs"]}
    assert actual == {path: entry["sha256"] for path, entry in LOCK["outputs"].items()}


def test_every_schema_is_locked() -> None:
    present = {path.relative_to(ROOT).as_posix() for path in (ROOT / "schemas").rglob("*.json")}
    assert present == {path for path in LOCK["outputs"] if path.startswith("schemas/")}


def test_every_output_names_a_locked_source() -> None:
    sources = {f"{module} {path}" for module, entry in LOCK["sources"].items() for path in entry["files"]}
    written = {f"ci/toolchain/crds {path.name}" for path in (ROOT / "ci/toolchain/crds").glob("*.yaml")}
    assert {entry["from"] for entry in LOCK["outputs"].values()} <= sources | written


def test_locked_versions_are_the_pinned_ones() -> None:
    pinned = {
        match for path in PINS for match in re.findall(r"^\s*(?:require )?(\S+) (v\S+)", path.read_text(), re.MULTILINE)
    }
    assert {(module, entry["version"]) for module, entry in LOCK["sources"].items()} <= pinned


@pytest.mark.parametrize("path", SchemaStore().files.values(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_schemas_are_compact_self_contained_and_use_no_engine_specific_keyword(path: Path) -> None:
    schema = SchemaStore().load(path)
    nodes = list(schema_nodes(schema))
    keywords = {keyword for node in nodes for keyword in node}
    assert not keywords & {"description", "default", "example", "format", "const", "if", "x-kubernetes-validations"}
    referred = {node["$ref"].removeprefix("#/definitions/") for node in nodes if "$ref" in node}
    assert referred == set(schema["definitions"])
    # Draft 4 ignores what stands beside a reference.
    assert [node for node in nodes if "$ref" in node and len(node) > 1] == []


@pytest.mark.slow
def test_generating_again_changes_nothing() -> None:
    # From the module cache only: a machine that never fetched the sources has nothing to compare.
    result = subprocess.run(
        [sys.executable, "-m", "ci.generate.schemas", "--check"],
        cwd=ROOT,
        env={**os.environ, "GOPROXY": "off"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if result.returncode == 3:
        pytest.skip(f"the pinned modules are not in the module cache: {result.stderr.strip()[:200]}")
    assert (result.returncode, result.stdout) == (0, "")
