"""Plain manifests of any origin: files, directories and streams of YAML or JSON.

Nothing is assumed about what arrives: size is limited before the text is held in memory, and what
is not a stream of Kubernetes objects is refused with the place and the reason.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from chartproof import kubernetes_yaml
from chartproof.errors import InputError
from chartproof.release import Document, Release

#: Larger inputs are refused: etcd holds objects of 1.5 MB, so this is a mistake and not a release.
MOST_BYTES = 256 * 1024 * 1024
SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"

_CHUNK_BYTES = 1024 * 1024
_SPACE = re.compile(r"\s*")


Objects = list[tuple[str, dict[str, Any]]]
"""Kubernetes objects, each with where it was found (`origin:line`)."""


def read_files(files: Sequence[Path], *, name: str, namespace: str = "default") -> Release:
    """The release that files make together. Raises InputError where one cannot be read or none has an object."""
    return release_of([each for file in files for each in parse(read_text(file), origin=str(file))], name, namespace)


def read_manifest(path: Path) -> Objects | None:
    """The objects of a file, or None where it holds the values of a chart instead.

    Raises InputError where it cannot be read.
    """
    text = read_text(path)  # once: it may be a pipe
    return list(parse(text, origin=str(path))) if is_manifest(text, origin=str(path)) else None


def read_stream(stream: BinaryIO, *, name: str = STDIN, namespace: str = "default") -> Release:
    """The release that a stream such as stdin makes. Raises InputError as `read_files`."""
    if stream.isatty():
        print("reading manifests from the terminal; end with Ctrl-D", file=sys.stderr)
    text = _decode(_read_limited(stream, name), name)
    return release_of(list(parse(text, origin=name)), name, namespace)


def manifest_files(directory: Path) -> list[Path]:
    """Files below a directory that hold YAML or JSON, in order of their paths; hidden ones are left out."""
    found = [
        each
        for each in sorted(directory.rglob("*"))
        if each.suffix in SUFFIXES
        and each.is_file()
        and not any(part.startswith(".") for part in each.relative_to(directory).parts)
    ]
    if not found:
        raise InputError(
            "no manifest in this directory",
            where=str(directory),
            how=f"name a directory with files that end in {', '.join(SUFFIXES)}",
        )
    return found


def read_text(path: Path) -> str:
    """The text of a file of at most `MOST_BYTES`. Raises InputError where it cannot be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _too_large(str(path))
        with path.open("rb") as stream:
            return _decode(_read_limited(stream, str(path)), str(path))
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), how="check the path") from error
    except IsADirectoryError as error:
        raise InputError("this is a directory, a file is expected", where=str(path)) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), how="check its permissions") from error


def is_manifest(text: str, *, origin: str) -> bool:
    """Whether a text holds Kubernetes objects rather than the values of a chart.

    Judged by the first document that is not empty: values are one mapping without `apiVersion` and
    `kind`. An empty text counts as manifests, of which it has none. Raises InputError where the
    text cannot be read.
    """
    first = next((body for _, body in _values(text, origin) if body is not None), None)
    return not isinstance(first, dict) or "apiVersion" in first or "kind" in first


def parse(text: str, *, origin: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a YAML or JSON text with where it was found (`origin:line`); Lists are taken apart.

    Raises InputError for text that is neither, and for documents that are no mappings.
    """
    for line, body in _values(text, origin):
        where = f"{origin}:{line}"
        if body is None:
            continue
        if not isinstance(body, dict):
            raise InputError(
                f"a Kubernetes object is a mapping, this is {_describe(body)}",
                where=where,
                how="remove the document, or check its indentation",
            )
        yield from ((where, each) for each in _flatten(body, where))


def release_of(objects: Objects, name: str, namespace: str) -> Release:
    """The release that objects make. Raises InputError where there are none."""
    if not objects:
        raise InputError(
            "there is no Kubernetes object in it",
            where=name,
            how="check the command that should have written it; an empty stream is not a clean one",
        )
    documents = tuple(Document(body, where, index) for index, (where, body) in enumerate(objects))
    return Release(name, documents, namespace, origin=name)


def _read_limited(stream: BinaryIO, origin: str) -> bytes:
    """Read everything, but never hold much more than the limit."""
    chunks: list[bytes] = []
    size = 0
    while chunk := stream.read(_CHUNK_BYTES):
        size += len(chunk)
        if size > MOST_BYTES:
            raise _too_large(origin)
        if not chunks and b"\0" in chunk:
            _refuse_binary(origin)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(origin: str) -> InputError:
    return InputError(
        f"larger than {MOST_BYTES // 1024**2} MB, which no release is",
        where=origin,
        how="split it, or check what wrote it",
    )


def _decode(data: bytes, origin: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x})",
            where=origin,
            how="name a YAML or JSON file",
        ) from error
    if "\0" in text:
        _refuse_binary(origin)
    return text


def _refuse_binary(origin: str) -> None:
    raise InputError("a binary file, not YAML or JSON", where=origin, how="name a YAML or JSON file")


def _values(text: str, origin: str) -> Iterator[tuple[int, Any]]:
    """Each document of a text with its line; JSON is read by the JSON parser, which is much faster."""
    try:
        if text.lstrip()[:1] in {"{", "["}:
            try:
                found = list(_json_values(text))
            except json.JSONDecodeError:
                pass  # A YAML flow mapping, or a mistake that the YAML reader names better.
            else:
                yield from found
                return
        yield from kubernetes_yaml.documents(text)
    except kubernetes_yaml.YamlError as error:
        raise InputError(
            f"not valid YAML: {error.problem}", where=f"{origin}:{error.line}", how="fix the syntax on this line"
        ) from error
    except RecursionError as error:
        raise InputError(
            "nested too deeply to be a Kubernetes object", where=origin, how="check what wrote it"
        ) from error


def _json_values(text: str) -> Iterator[tuple[int, Any]]:
    """One JSON value after another, as kubectl writes and reads them."""
    decoder = json.JSONDecoder(parse_float=lambda number: kubernetes_yaml.as_json(float(number)))
    position, line = 0, 1
    while (start := _after_space(text, position)) < len(text):
        line += text.count("\n", position, start)
        value, position = decoder.raw_decode(text, start)
        yield line, value
        line += text.count("\n", start, position)


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _flatten(body: dict[str, Any], where: str) -> Iterator[dict[str, Any]]:
    """The items of a `List` (or `ConfigMapList`, ...), else the object itself."""
    items = body.get("items")
    if not (str(body.get("kind", "")).endswith("List") and isinstance(items, list) and "spec" not in body):
        yield body
        return
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise InputError(f"items[{index}] of the list is {_describe(item)}, not an object", where=where)
        yield from _flatten(item, where)


def _describe(value: Any) -> str:
    kinds = {list: "a list", str: "text", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(value), "something else")
