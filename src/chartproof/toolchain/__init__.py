"""The pinned programs that chartproof works with: found, or built from checksummed sources.

Each program is taken from the first of: its environment variable (`CHARTPROOF_HELM`,
`CHARTPROOF_KUBE_APISERVER`, ...), the cache of earlier builds, a suitable version on PATH, a build.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from chartproof.errors import ToolchainError
from chartproof.toolchain import pins
from chartproof.toolchain.builder import build
from chartproof.toolchain.locate import Location, Origin, locate

__all__ = [
    "CONTROL_PLANE",
    "LIVE_LOOP",
    "RENDERING",
    "Location",
    "Origin",
    "ensure",
    "find",
    "resolve",
    "status",
]

RENDERING = ("helm", "kubeconform")
"""What `check` and `render` run."""

CONTROL_PLANE = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubectl",
    "kwok",
    "kwokctl",
    "lws-controller",
)
"""What every embedded cluster runs, besides helm."""

LIVE_LOOP = (
    "keda-operator",
    "keda-adapter",
    "keda-admission-webhooks",
    "prometheus",
    "prometheus-operator",
    "kube-state-metrics",
    "karpenter",
    "litellm",
    *(("vllm-router",) if sys.platform == "linux" else ()),
)
"""What runs on top of the control plane where autoscaling is to be seen at work.

The router is published for Linux only; elsewhere its pods cannot be made.
"""


@cache
def resolve(name: str) -> Path:
    """The path of a program, built first where there is none.

    Raises UsageError for a name the toolchain does not have, ToolchainError where the program can
    neither be found nor built.
    """
    location = find(name)
    if location.path is not None:
        return location.path
    module = pins.modules()[location.program.module]
    try:
        build(module)
    except ToolchainError as error:
        if location.note:
            error.what = f"{location.note}; {error.what}"
        raise
    built = locate(module, location.program)
    if built.path is None:
        raise ToolchainError(f"the build of {module.name} made no {name}", where=str(module.directory))
    return built.path


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """The paths of several programs, built one after another where missing.

    Not at once: the modules share Go's build cache and one build already uses every core.
    """
    return {name: resolve(name) for name in names}


def find(name: str) -> Location:
    """Where a program would be taken from, without building it."""
    program = pins.program(name)
    return locate(pins.modules()[program.module], program)


def status() -> list[Location]:
    """Where every program would be taken from, without building any."""
    return [find(name) for name in pins.programs()]
