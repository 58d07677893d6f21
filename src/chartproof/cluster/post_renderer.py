"""The Helm post-renderer of a live cluster: scales what was rendered in time and gives it kwok's node classes.

`install` writes the plugin into a cluster's directory, where its `environment()` lets Helm find it; `options` are what
`helm install` and `helm upgrade` then need. Helm runs `python -m chartproof.cluster.post_renderer --factor F`, hands it
the manifests on standard input and shows nothing of what it says, so that it writes its changes to a file.

Format of the plugin: Helm 4.3 `internal/plugin/metadata_v1.go` and `runtime_subprocess.go`. Its place: `pkg/cli/
environment.go` (`plugins` below HELM_DATA_HOME). Helm 3 takes the program itself: `--post-renderer <plugin>/run`.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from chartproof import kubernetes_yaml
from chartproof.cluster import node_classes
from chartproof.cluster.time_scale import Change, condensed, scaled_all
from chartproof.errors import ChartproofError, ClusterError, InputError

NAME = "chartproof-live"
"""Name of the plugin."""

_VERSION = "1.0.0"
_SEPARATOR = re.compile(r"^---(?:[ \t].*)?\n", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*")
_ERROR = "error: "


def install(helm_data: Path, factor: float) -> Path:
    """Write the plugin below a `HELM_DATA_HOME` and return its directory; one that is there is replaced."""
    directory = helm_data / "plugins" / NAME
    directory.mkdir(parents=True, exist_ok=True)
    description = {
        "apiVersion": "v1",
        "name": NAME,
        "version": _VERSION,
        "type": "postrenderer/v1",
        "runtime": "subprocess",
        # Helm splits a command at blanks before it expands variables, so that the path may have some.
        "runtimeConfig": {"platformCommand": [{"command": "${HELM_PLUGIN_DIR}/run"}]},
    }
    (directory / "plugin.yaml").write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    program = directory / "run"
    command = shlex.join([sys.executable, "-m", __name__, "--factor", repr(float(factor))])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return directory


def options(changes: Path) -> list[str]:
    """Options of `helm install`, `upgrade` and `template` that apply it; it writes what it changed to the file."""
    changes.unlink(missing_ok=True)
    return ["--post-renderer", NAME, "--post-renderer-args", "--changes", "--post-renderer-args", str(changes)]


def read_changes(changes: Path) -> list[str]:
    """The changes that the last run wrote, condensed; empty where there were none.

    Raises ClusterError with its message where it failed, which Helm only mentions.
    """
    lines = changes.read_text(encoding="utf-8").splitlines() if changes.exists() else []
    if lines and lines[0].startswith(_ERROR):
        raise ClusterError("\n".join(lines).removeprefix(_ERROR), where="helm's post-renderer")
    return lines


def render(text: str, factor: float) -> tuple[str, list[Change]]:
    """A stream of manifests for a live cluster, and what is different; documents that stay are kept as written.

    Raises InputError.
    """
    documents = list(_documents(text))
    result, changes = scaled_all((body for _, body in documents), factor)
    result, more = node_classes.played(result, factor)
    written = {id(body): source for source, body in documents}
    return "".join(f"---\n{written.get(id(each)) or _dump(each)}" for each in result), [*changes, *more]


def _documents(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every document with its text."""
    for source in _SEPARATOR.split(text):
        try:
            body = kubernetes_yaml.load(source)
        except kubernetes_yaml.YamlError as error:
            raise InputError(f"not YAML: {error}", where="rendered manifests") from None
        if isinstance(body, dict):
            yield source if source.endswith("\n") else f"{source}\n", body


class _Dumper(yaml.SafeDumper):
    """Quotes strings generously: what looks like a number or a boolean to one YAML reader does not to another."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML asks for every value
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and kubernetes_yaml.resolve(text) == text
    style = None if plain else "|" if "\n" in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def _dump(body: object) -> str:
    dumped: str = yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize)
    return dumped


def main(arguments: Sequence[str] | None = None) -> int:
    """Filter standard input to standard output."""
    parser = argparse.ArgumentParser(prog=f"{NAME}/run", description="Scale rendered manifests in time.")
    parser.add_argument("--factor", type=float, required=True, help="how many times as fast the cluster's time runs")
    parser.add_argument("--changes", type=Path, help="file to write the changes, or the error, to")
    chosen = parser.parse_args(arguments)
    try:
        text, changes = render(sys.stdin.read(), chosen.factor)
    except ChartproofError as error:
        print(error, file=sys.stderr)
        if chosen.changes:
            chosen.changes.write_text(f"{_ERROR}{error}\n", encoding="utf-8")
        return int(error.exit_code)
    if chosen.changes:
        # Helm may run it once for hooks and once for the rest.
        with chosen.changes.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in condensed(changes))
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
