"""`chartproof render`: the manifests that would be deployed."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import yaml

from chartproof import inputs, kubernetes_yaml
from chartproof.errors import ExitCode
from chartproof.release import Release


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # chosen at run time
    """Writes text of several lines as a block, so that scripts and settings can be read."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write shared values out: anchors confuse readers and some parsers."""
        return data is not None


def _text(dumper: Any, text: str) -> Any:
    style = "|" if "\n" in text else None
    if kubernetes_yaml.resolve(text) != text:
        style = "'"  # PyYAML would leave `y` and `1e3` plain, which Kubernetes reads as something else
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def add_parser(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Add the command to the program's parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "render",
        help="print the manifests that presets, charts or files come to",
        description="Print what would be deployed as one YAML stream, each object with the template it comes from. "
        "The stream can be piped to `chartproof check -` or `kubectl apply -f -`.",
        allow_abbrev=False,
    )
    inputs.add_arguments(parser)
    return parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the releases."""
    for release in inputs.load(arguments).require_all():
        for text in manifests(release):
            sys.stdout.write(text)
    return ExitCode.CLEAN


def manifests(release: Release) -> list[str]:
    """Each document as YAML behind a `---` line and a comment on its source."""
    return [
        f"---\n# Source: {each.source}\n"
        + yaml.dump(each.body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
        for each in release.documents
    ]
