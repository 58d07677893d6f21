"""Make schemas/ and the scalers' data of the package from pinned Go modules.

    python -m ci.generate.schemas            write everything and sources.lock.yaml
    python -m ci.generate.schemas --check    write nothing; exit 1 where something would change

Exit code 3: the modules could not be had.

Every schema is closed, self-contained and without descriptions; see schemas.toml for the sources.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chartproof.errors import ChartproofError, ToolchainError
from chartproof.toolchain import golang
from chartproof.toolchain.builder import environment
from ci.generate import openapi, structural
from ci.generate.compaction import share
from ci.generate.openapi import OBJECT_META, Converter, Kind
from ci.generate.vocabulary import DRAFT, NAMES, Schema

_ROOT = Path(__file__).resolve().parents[2]
_DESCRIPTION = Path(__file__).with_suffix(".toml")
_LOCK = "schemas/sources.lock.yaml"
_SCALERS = "src/chartproof/data/keda_scalers.json"
_GO = (1, 26, 6)


class Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: `=` and dates are strings."""


Loader.yaml_implicit_resolvers = {
    first: [each for each in resolvers if each[0].rpartition(":")[2] not in {"value", "timestamp"}]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(slots=True)
class Sources:
    """Reads files of pinned modules and remembers what was read."""

    go: golang.Go
    directories: dict[tuple[str, str], tuple[str, Path]] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)

    def directory(self, pins: str, module: str) -> Path:
        """Where the module cache has `module` at the version that `pins` names."""
        if (pins, module) not in self.directories:
            result = subprocess.run(
                [str(self.go.command), "mod", "download", "-json", module],
                cwd=_ROOT / pins,
                env=environment(self.go),
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode:
                raise ToolchainError(
                    f"go mod download {module} failed: {result.stderr.strip() or result.stdout.strip()}",
                    where=pins,
                    how="check the network and GOPROXY",
                )
            answer = json.loads(result.stdout)
            self.directories[pins, module] = answer["Version"], Path(answer["Dir"])
        return self.directories[pins, module][1]

    def read(self, pins: str, module: str, path: str) -> str:
        """The content of one file."""
        content = (self.directory(pins, module) / path).read_bytes()
        version = self.directories[pins, module][0]
        self.hashes.setdefault(f"{module}@{version}", {})[path] = _sha256(content)
        return content.decode()


@dataclass(frozen=True, slots=True)
class Output:
    """A generated file: its path in the repository, its text, and the source it comes from."""

    path: str
    text: str
    source: str


def main() -> int:
    """Write or check; the exit code is that of the process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where something would change")
    check = parser.parse_args().check
    try:
        outputs = _generate()
    except ChartproofError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    wanted = {each.path: each.text for each in outputs}
    present = {path.relative_to(_ROOT).as_posix() for path in (_ROOT / "schemas").glob("*/*.json")}
    stale = sorted(present - wanted.keys())
    changed = [path for path, text in wanted.items() if not _same(_ROOT / path, text)]
    for path in [] if check else stale:
        (_ROOT / path).unlink()
    for path in [] if check else changed:
        (_ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (_ROOT / path).write_text(wanted[path], encoding="utf-8")
    size = sum(len(each.text) for each in outputs)
    print(f"{len(wanted)} files, {size:,} bytes; changed: {len(changed)}, stale: {len(stale)}", file=sys.stderr)
    for path in [*changed, *stale]:
        print(path)
    return int(check and bool(changed or stale))


def _generate() -> list[Output]:
    description = tomllib.loads(_DESCRIPTION.read_text(encoding="utf-8"))
    sources = Sources(golang.find(_GO))
    names: Mapping[str, str] = description["names"]
    kubernetes = description["kubernetes"]
    outputs = [*_kubernetes(sources, kubernetes, names)]
    object_meta = _read_openapi(sources, kubernetes, "api__v1_openapi.json")["components"]["schemas"]
    for entry in description["customresources"]:
        for path in entry["files"]:
            outputs += _custom_resources(sources, entry, path, object_meta)
    outputs.append(_scalers(sources, **description["scalers"]))
    outputs.sort(key=lambda each: each.path)
    return [*outputs, Output(_LOCK, _lock(sources, outputs), "")]


def _kubernetes(sources: Sources, entry: Mapping[str, str], names: Mapping[str, str]) -> Iterator[Output]:
    pins, module = entry["pins"], entry["module"]
    enumerations = openapi.enumerations(sources.read(pins, module, entry["enumerations"]))
    directory = sources.directory(pins, module) / entry["directory"]
    for path in sorted(directory.iterdir()):
        if not re.fullmatch(entry["openapi"], path.name):
            continue
        document = _read_openapi(sources, entry, path.name)
        for kind, model in sorted(openapi.stored_kinds(document).items(), key=lambda each: each[1]):
            converter = Converter(document["components"]["schemas"], enumerations)
            name = NAMES[names.get(f"{kind.group}/{kind.kind}", "subdomain")]
            schema = _finish(converter.whole(model), kind, name, converter)
            yield _output(kind, schema, f"{module} {entry['directory']}/{path.name}")


def _read_openapi(sources: Sources, entry: Mapping[str, str], name: str) -> dict[str, Any]:
    text = sources.read(entry["pins"], entry["module"], f"{entry['directory']}/{name}")
    return json.loads(text)  # type: ignore[no-any-return]


def _custom_resources(
    sources: Sources, entry: Mapping[str, Any], path: str, object_meta: Mapping[str, Any]
) -> Iterator[Output]:
    local = entry.get("local")
    text = (
        (_ROOT / local / path).read_text(encoding="utf-8")
        if local
        else sources.read(entry["pins"], entry["module"], path)
    )
    source = f"{local or entry['module']} {path}"
    # A file may hold a comment as a document of its own.
    (definition,) = (each for each in yaml.load_all(text, Loader) if each)
    spec = definition["spec"]
    for version in spec["versions"]:
        if not version["served"]:
            continue
        kind = Kind(spec["group"], version["name"], spec["names"]["kind"])
        try:
            whole = share(structural.convert(version["schema"]["openAPIV3Schema"]))
        except ValueError as error:
            message = f"{source}: {error}"
            raise ValueError(message) from error
        schema = _finish(whole, kind, NAMES["subdomain"], Converter(object_meta, {}))
        yield _output(kind, schema, source)


def _finish(schema: Schema, kind: Kind, name: Schema, converter: Converter) -> Schema:
    """Make a standalone schema: identity, the metadata an object must have, definitions."""
    converter.reference(OBJECT_META, null=False)
    meta = converter.definitions["ObjectMeta"]
    named = meta | {
        "properties": meta["properties"] | {"name": {"type": "string", **name}},
        "anyOf": [{"required": ["name"]}, {"required": ["generateName"]}],
    }
    api_version = f"{kind.group}/{kind.version}" if kind.group else kind.version
    root = {
        "$schema": DRAFT,
        "type": "object",
        "additionalProperties": False,
        "required": sorted({*schema.get("required", ()), "apiVersion", "kind", "metadata"}),
        "properties": {
            **schema["properties"],
            "apiVersion": {"enum": [api_version]},
            "kind": {"enum": [kind.kind]},
            "metadata": named,
        },
    }
    return root | {"definitions": _used(root, {**converter.definitions, **schema.get("definitions", {})})}


def _used(root: Schema, definitions: Mapping[str, Schema]) -> dict[str, Schema]:
    """The definitions that `root` refers to, directly or through others."""
    used: dict[str, Schema] = {}
    pending = [root]
    while pending:
        for name in re.findall(r'"#/definitions/([^"]+)"', json.dumps(pending.pop())):
            if name not in used:
                used[name] = definitions[name]
                pending.append(definitions[name])
    return used


def _output(kind: Kind, schema: Schema, source: str) -> Output:
    path = f"schemas/{kind.group or 'core'}/{kind.kind.lower()}_{kind.version}.json"
    return Output(path, json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n", source)


def _scalers(sources: Sources, pins: str, module: str, file: str) -> Output:
    """Which metadata keys each KEDA scaler knows: type -> parameter -> what is known of it."""
    described = json.loads(sources.read(pins, module, file))["scalers"]
    version, _ = sources.directories[pins, module]
    # One line per scaler: small, and a difference can still be read.
    lines = [
        f"  {json.dumps(each['type'])}: {json.dumps({one['name']: _parameter(one) for one in each['parameters']})}"
        for each in sorted(described, key=lambda each: str(each["type"]))
    ]
    text = f'{{\n "kedaVersion": {json.dumps(version)},\n "scalers": {{\n' + ",\n".join(lines) + "\n }\n}\n"
    return Output(_SCALERS, text, f"{module} {file}")


def _parameter(source: Mapping[str, Any]) -> dict[str, Any]:
    places = {"metadata": "metadata", "triggerAuthentication": "authentication", "env": "environment"}
    result: dict[str, Any] = {
        "required": not source.get("optional", False) and "default" not in source,
        "readFrom": [name for key, name in places.items() if source.get(f"{key}VariableReadable")],
    }
    for key, name in {"default": "default", "allowedValue": "allowed", "deprecated": "deprecated"}.items():
        if key in source:
            result[name] = source[key]
    return result


def _lock(sources: Sources, outputs: list[Output]) -> str:
    versions = {module: version for (_, module), (version, _) in sources.directories.items()}
    content = {
        "sources": {
            module: {"version": version, "files": sources.hashes[f"{module}@{version}"]}
            for module, version in sorted(versions.items())
        },
        "outputs": {each.path: {"from": each.source, "sha256": _sha256(each.text.encode())} for each in outputs},
    }
    head = "# Made by `python -m ci.generate.schemas`. Do not edit: tests compare the hashes.\n"
    return head + yaml.safe_dump(content, sort_keys=True, width=160)


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
