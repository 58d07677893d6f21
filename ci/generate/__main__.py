"""`python -m ci.generate`: make every generated file; `--check`: fail where one is stale."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Iterator, Sequence

from ci.generate.artifacts import Artifact, GenerationError

#: Modules with a function `artifacts()`, by the name they are asked for.
GENERATORS = (
    "charts",
    "claims",
    "command_page",
    "engine_table",
    "policy_table",
    "preset_table",
    "readme_example",
    "rule_pages",
)
_SHOWN_LINES = 20


def artifacts(names: Sequence[str] = GENERATORS) -> Iterator[Artifact]:
    """The generated files of the named generators, newly made."""
    for name in names:
        yield from importlib.import_module(f"ci.generate.{name}").artifacts()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or compare; 0 when everything is current, 1 when stale, 2 when a source is wrong."""
    parser = argparse.ArgumentParser(prog="python -m ci.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    parser.add_argument("names", nargs="*", choices=(*GENERATORS, []), metavar="NAME", help=", ".join(GENERATORS))
    options = parser.parse_args(arguments)
    try:
        stale = [each for each in artifacts(options.names or GENERATORS) if each.is_stale]
    except GenerationError as error:
        print(error, file=sys.stderr)
        return 2
    for each in stale:
        if options.check:
            print(f"{each.path} is stale; run `make generate`", file=sys.stderr)
            print("\n".join(_difference(each)), file=sys.stderr)
        else:
            each.write()
            print(f"{'removed' if each.content is None else 'wrote'} {each.path}", file=sys.stderr)
    return 1 if stale and options.check else 0


def _difference(artifact: Artifact) -> list[str]:
    lines = difflib.unified_diff(
        (artifact.current or "").splitlines(),
        (artifact.content or "").splitlines(),
        "on disk",
        "generated",
        lineterm="",
        n=1,
    )
    return [line[:200] for line, _ in zip(lines, range(_SHOWN_LINES), strict=False)]


if __name__ == "__main__":
    raise SystemExit(main())
