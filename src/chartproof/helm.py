"""Rendering of a chart with the helm program, and what its refusals mean.

`helm template` runs on the client and offline: it needs no cluster, and the capabilities a chart may
ask about are those given here.
"""

from __future__ import annotations

import os
import re
import subprocess
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chartproof import kubernetes_yaml, refusals, toolchain
from chartproof.errors import ChartproofError, InputError, RenderError, ToolchainError, UsageError
from chartproof.manifests import read_text
from chartproof.release import Document, Release
from chartproof.toolchain import pins

#: APIs beyond Kubernetes' own that a chart may find: what the platform of an LLM cluster installs.
API_VERSIONS = (
    "keda.sh/v1alpha1",
    "keda.sh/v1alpha1/ScaledObject",
    "keda.sh/v1alpha1/TriggerAuthentication",
    "karpenter.sh/v1",
    "karpenter.sh/v1/NodePool",
    "karpenter.k8s.aws/v1",
    "karpenter.k8s.aws/v1/EC2NodeClass",
    "eks.amazonaws.com/v1",
    "eks.amazonaws.com/v1/NodeClass",
    "autoscaling.x-k8s.io/v1beta1",
    "autoscaling.x-k8s.io/v1beta1/CapacityBuffer",
    "leaderworkerset.x-k8s.io/v1",
    "leaderworkerset.x-k8s.io/v1/LeaderWorkerSet",
    "monitoring.coreos.com/v1",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/PrometheusRule",
    "monitoring.coreos.com/v1/ServiceMonitor",
)
DEFAULT_NAMESPACE = "llm"

_RENDER_SECONDS = 300
_LONGEST_RELEASE_NAME = 53
_SOURCE = re.compile(r"^# Source: (.+)$", re.MULTILINE)
_RELEASE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Rendering:
    """One `helm template`: a chart with values.

    `label` is how reports call the release, `name` its Helm release name, `values` files of which a
    later one wins, `settings` are `--set` expressions. `kube_version` empty means that of the pinned
    control plane.
    """

    chart: Path
    label: str
    name: str
    values: tuple[Path, ...] = ()
    settings: tuple[str, ...] = ()
    namespace: str = DEFAULT_NAMESPACE
    kube_version: str = ""
    api_versions: tuple[str, ...] = API_VERSIONS

    @property
    def origin(self) -> str:
        """The file that a reader would edit: the last values file, else the chart."""
        return str(self.values[-1] if self.values else self.chart)

    def arguments(self) -> list[str]:
        """The words after `helm`."""
        words = ["template", self.name, str(self.chart), "--namespace", self.namespace, "--include-crds"]
        words += ["--kube-version", self.kube_version or pins.modules()["kubernetes"].version]
        for each in self.values:
            words += ["--values", str(each)]
        for setting in self.settings:
            words += ["--set", setting]
        for version in self.api_versions:
            words += ["--api-versions", version]
        return words


def release_name(label: str) -> str:
    """The Helm release name for a preset's file stem: dots, which object names may not have, become dashes.

    Raises UsageError where no valid name comes out.
    """
    name = label.lower().replace(".", "-").replace("_", "-")
    if _RELEASE_NAME.fullmatch(name) and len(name) <= _LONGEST_RELEASE_NAME:
        return name
    raise UsageError(
        f"{label!r} cannot be a release name: at most {_LONGEST_RELEASE_NAME} lower-case letters, digits and dashes",
        how="rename the file, or give --name",
    )


def program() -> Path:
    """The helm program, built first where there is none. Raises ToolchainError where that fails."""
    try:
        return toolchain.resolve("helm")
    except ToolchainError as error:
        if "CHARTPROOF_HELM" in str(error):
            raise
        raise ToolchainError(
            f"helm, which renders charts, is missing and could not be built: {error.what}",
            where=error.where,
            how=f"{error.how}; or set CHARTPROOF_HELM to a helm 4 program".removeprefix("; or "),
        ) from error


def render(rendering: Rendering) -> Release:
    """Render one release.

    Raises InputError for files that cannot be read, ToolchainError without helm, RenderError where
    helm or the chart refuses.
    """
    _require_chart(rendering.chart)
    for each in rendering.values:
        _require_values(each)
    helm = program()
    arguments = rendering.arguments()
    result = _run(helm, arguments)
    if result.returncode != 0:
        debug = result.stderr if "YAML parse error" not in result.stderr else _run(helm, [*arguments, "--debug"]).stdout
        given = refusals.Given(rendering.values, rendering.settings)
        raise refusals.explain(rendering.chart, given, rendering.origin, result.stderr, debug)
    documents = tuple(
        Document(body, source, index) for index, (source, body) in enumerate(_objects(result.stdout, rendering.origin))
    )
    return Release(rendering.label, documents, rendering.namespace, rendering.origin, (str(helm), *arguments))


def render_all(renderings: Sequence[Rendering]) -> list[Release | ChartproofError]:
    """Render many at once, in order; a failure takes the place of its release."""
    if renderings:
        program()  # once, before the threads: it may build
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(_render_or_error, renderings))


def _render_or_error(rendering: Rendering) -> Release | ChartproofError:
    try:
        return render(rendering)
    except ToolchainError:
        raise
    except ChartproofError as error:
        return error


def _run(helm: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # HELM_DEBUG would mix talk into what is parsed; a proxy or registry is never asked.
    environment = {key: value for key, value in os.environ.items() if key != "HELM_DEBUG"}
    try:
        return subprocess.run(
            [str(helm), *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=_RENDER_SECONDS,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise RenderError(
            f"helm did not finish within {_RENDER_SECONDS} s",
            where=arguments[2],
            how="look for a loop in its templates",
        ) from error
    except OSError as error:
        raise ToolchainError(
            f"helm cannot be run: {error.strerror}", where=str(helm), how="run `chartproof toolchain build helm`"
        ) from error


def _require_chart(chart: Path) -> None:
    if not chart.exists():
        raise InputError("there is no such chart", where=str(chart), how="give the chart's directory with --chart")
    if chart.is_dir() and not (chart / "Chart.yaml").is_file():
        raise InputError("not a chart: it has no Chart.yaml", where=str(chart), how="give the chart's own directory")


def _require_values(path: Path) -> None:
    """Read a values file before helm does: helm takes duplicate keys silently and counts lines otherwise."""
    try:
        values = kubernetes_yaml.load(read_text(path))
    except kubernetes_yaml.YamlError as error:
        raise InputError(
            f"not valid YAML: {error.problem}", where=f"{path}:{error.line}", how="fix the syntax on this line"
        ) from error
    if values is not None and not isinstance(values, dict):
        raise InputError("values are a mapping of keys, this is not", where=str(path), how="write `key: value` lines")


def _objects(text: str, origin: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of helm's output with the template it came from."""
    marks = [(text.count("\n", 0, each.start()) + 1, each[1]) for each in _SOURCE.finditer(text)]
    lines = [line for line, _ in marks]

    def source(line: int) -> str:
        index = bisect_right(lines, line) - 1
        return marks[index][1] if index >= 0 else ""

    try:
        for line, body in kubernetes_yaml.documents(text):
            if body is None:
                continue
            if not isinstance(body, dict):
                raise RenderError(
                    f"the template {source(line)} renders something that is no object",
                    where=origin,
                    how="check the indentation and the `---` lines of the template",
                )
            yield source(line), body
    except kubernetes_yaml.YamlError as error:
        shown = text.splitlines()[error.line - 1].strip() if text else ""
        raise RenderError(
            f"the template {source(error.line)} renders YAML that cannot be read: {error.problem}, in {shown!r}",
            where=origin,
            how="quote values with `toYaml` or `quote` in the template",
        ) from error
