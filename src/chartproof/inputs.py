"""What a command is asked about: presets, charts, manifest files, directories, standard input.

Every command that looks at releases takes the same arguments and reads them here.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chartproof import helm, manifests
from chartproof.errors import ChartproofError, InputError, UsageError
from chartproof.helm import Rendering
from chartproof.release import Release

CHART = Path("charts/llm-inference")
"""Where a checkout keeps the chart that presets belong to, from its root."""

_HELP = """a preset (values file), a manifest file, a directory of either, a chart directory,
or - for manifests on standard input; with --chart, every INPUT is a values file"""


@dataclass(frozen=True, slots=True)
class Failure:
    """An input that no release could be made of, by the name reports use, and why."""

    name: str
    error: ChartproofError


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the inputs came to, in their order."""

    releases: tuple[Release, ...]
    failures: tuple[Failure, ...]

    def require_all(self) -> tuple[Release, ...]:
        """The releases; raises the first failure, for commands that need every one."""
        if self.failures:
            raise self.failures[0].error
        return self.releases


@dataclass(frozen=True, slots=True)
class _Source:
    """One release: still to be rendered, or read already, or why it could not be."""

    name: str
    content: Rendering | Release | ChartproofError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Let a command take inputs."""
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help=_HELP)
    group = parser.add_argument_group("rendering")
    group.add_argument("--chart", type=Path, metavar="DIR", help=f"chart to render; default: {CHART} of the checkout")
    group.add_argument(
        "-f",
        "--values",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="values laid over the chart's, and over each preset; may be repeated",
    )
    group.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one value, as helm takes it; may be repeated"
    )
    group.add_argument("--name", help="release name; default: the preset's file name")
    group.add_argument(
        "-n",
        "--namespace",
        help=f"namespace of the release; default: {helm.DEFAULT_NAMESPACE} for charts, else default",
    )
    group.add_argument("--kube-version", default="", metavar="VERSION", help="Kubernetes version the chart is told of")


def load(arguments: argparse.Namespace) -> Loaded:
    """Make the releases that the command line asks for; presets are rendered at the same time.

    An input that fails does not stop the others. Raises UsageError for a command line that
    contradicts itself, ToolchainError without helm.
    """
    sources = _distinct(list(_sources(arguments)))
    renderings = [each.content for each in sources if isinstance(each.content, Rendering)]
    rendered = iter(helm.render_all(renderings))
    releases: list[Release] = []
    failures: list[Failure] = []
    for each in sources:
        made = next(rendered) if isinstance(each.content, Rendering) else each.content
        if isinstance(made, ChartproofError):
            failures.append(Failure(each.name, made))
        elif not made.documents:
            failures.append(Failure(each.name, _nothing_rendered(made)))
        else:
            releases.append(made)
    return Loaded(tuple(releases), tuple(failures))


def find_chart(near: Path) -> Path:
    """The checkout's chart: above `near`, above the working directory, or beside this package.

    Raises UsageError where there is none.
    """
    for start in (near.resolve(), Path.cwd(), Path(__file__).resolve()):
        for parent in (start, *start.parents):
            if (parent / CHART / "Chart.yaml").is_file():
                return _shortest(parent / CHART)
    raise UsageError(f"there is no {CHART} near {near}", how="give the chart with --chart DIR")


def _shortest(path: Path) -> Path:
    """The path as a reader would write it: relative where it is below the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _sources(arguments: argparse.Namespace) -> Iterator[_Source]:
    words: list[str] = arguments.inputs
    if not words and not arguments.chart and not arguments.values:
        raise UsageError("nothing to look at", how="name presets, manifest files, - for standard input, or --chart DIR")
    rendered = 0
    for source in _from_words(words, arguments) if words else [_chart(arguments)]:
        is_rendered = isinstance(source.content, Rendering)
        rendered += is_rendered
        if arguments.name and rendered > 1:
            raise UsageError("--name fits one release only", how="check the presets one by one")
        if isinstance(source.content, Release):
            _refuse_values(source.name, arguments)
        yield source


def _refuse_values(name: str, arguments: argparse.Namespace) -> None:
    if arguments.values or arguments.set or arguments.name:
        raise UsageError(
            "--values, --set and --name are for charts, and this input is rendered already",
            where=name,
            how="leave them out, or give the chart with --chart",
        )


def _from_words(words: Sequence[str], arguments: argparse.Namespace) -> Iterator[_Source]:
    if words.count(manifests.STDIN) > 1:
        raise UsageError("standard input can be read once", how="give - once")
    for word in words:
        if word == manifests.STDIN:
            _refuse_values(word, arguments)
            yield _Source(word, _try(lambda: manifests.read_stream(sys.stdin.buffer, **_namespace(arguments))))
        else:
            yield from _from_path(Path(word), arguments)


def _from_path(path: Path, arguments: argparse.Namespace) -> Iterator[_Source]:
    if path.is_dir() and (path / "Chart.yaml").is_file():
        yield _chart(argparse.Namespace(**{**vars(arguments), "chart": path}))
    elif arguments.chart:
        yield _preset(path, arguments)
    elif path.is_dir():
        yield from _from_directory(path, arguments)
    else:
        yield _from_file(path, arguments)


def _from_directory(path: Path, arguments: argparse.Namespace) -> Iterator[_Source]:
    """Each preset on its own; all manifests together are one release, as `kubectl apply -f` takes them."""
    objects: manifests.Objects = []
    presets: list[Path] = []
    try:
        for file in manifests.manifest_files(path):
            found = manifests.read_manifest(file)
            presets += [file] if found is None else []
            objects += found or []
    except InputError as error:
        yield _Source(str(path), error)
        return
    for preset in presets:
        yield _preset(preset, arguments)
    if objects or not presets:
        yield _Source(str(path), _try(lambda: manifests.release_of(objects, str(path), **_namespace(arguments))))


def _from_file(path: Path, arguments: argparse.Namespace) -> _Source:
    try:
        objects = manifests.read_manifest(path)
    except InputError as error:
        return _Source(str(path), error)
    if objects is None:
        return _preset(path, arguments)
    return _Source(str(path), _try(lambda: manifests.release_of(objects, str(path), **_namespace(arguments))))


def _preset(path: Path, arguments: argparse.Namespace) -> _Source:
    chart = arguments.chart or find_chart(path)
    rendering = _rendering(chart, path.stem, arguments)
    return _Source(path.stem, replace(rendering, values=(path, *arguments.values)))


def _chart(arguments: argparse.Namespace) -> _Source:
    """A chart with nothing but `--values`: named after the last values file, else the chart."""
    chart = arguments.chart or find_chart(Path.cwd())
    label = arguments.values[-1].stem if arguments.values else chart.resolve().name.removesuffix(".tgz")
    return _Source(label, replace(_rendering(chart, label, arguments), values=tuple(arguments.values)))


def _rendering(chart: Path, label: str, arguments: argparse.Namespace) -> Rendering:
    return Rendering(
        chart=chart,
        label=arguments.name or label,
        name=arguments.name or helm.release_name(label),
        settings=tuple(arguments.set),
        namespace=arguments.namespace or helm.DEFAULT_NAMESPACE,
        kube_version=arguments.kube_version,
    )


def _namespace(arguments: argparse.Namespace) -> dict[str, str]:
    return {"namespace": arguments.namespace or "default"}


def _try(read: Callable[[], Release]) -> Release | ChartproofError:
    try:
        return read()
    except ChartproofError as error:
        return error


def _distinct(sources: list[_Source]) -> list[_Source]:
    """Give presets of the same file name in different directories their paths as names."""
    seen = Counter(each.name for each in sources)
    renamed = []
    for each in sources:
        if seen[each.name] > 1 and isinstance(each.content, Rendering):
            label = each.content.origin
            renamed.append(_Source(label, replace(each.content, label=label)))
        else:
            renamed.append(each)
    again = Counter(each.name for each in renamed)
    twice = next((name for name, count in again.items() if count > 1), None)
    if twice is not None:
        raise UsageError("this input is given twice", where=twice, how="give it once")
    return renamed


def _nothing_rendered(release: Release) -> ChartproofError:
    return InputError(
        "nothing is rendered with these values; an empty release is not a clean one",
        where=release.origin,
        how="switch something on, such as engine.enabled",
    )
