"""Helm against a cluster: installs, upgrades and uninstalls releases of one chart."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from chartproof import kubernetes_yaml, toolchain
from chartproof.errors import ClusterError


def _nothing() -> Sequence[str]:
    return ()


class HelmClient:
    """Releases of one chart, each in a namespace of its own name.

    `environment` directs helm to the cluster; `options` are added to installations and upgrades. What helm refuses
    is returned in its own words, empty where it succeeded.
    """

    def __init__(
        self, chart: Path, environment: Mapping[str, str], options: Callable[[], Sequence[str]] = _nothing
    ) -> None:
        self._chart = chart
        self._environment = environment
        self._options = options
        self._program = toolchain.resolve("helm")

    def install(self, release: str, values: Path, *words: str) -> str:
        """`helm install` of a preset."""
        return self._change("install", release, values, *words)

    def upgrade(self, release: str, values: Path, *words: str) -> str:
        """`helm upgrade` of a preset."""
        return self._change("upgrade", release, values, *words)

    def uninstall(self, release: str, *words: str) -> str:
        """`helm uninstall`; a release that is not there is fine."""
        return self._said("uninstall", release, "--ignore-not-found", *words)

    def objects(self, release: str) -> list[dict[str, Any]]:
        """What Helm installed, as it sent it. Raises ClusterError where there is no such release."""
        result = self._call("get", "manifest", release, "--namespace", release)
        if result.returncode:
            raise ClusterError(result.stderr.strip(), where=f"helm get manifest {release}")
        return [body for _, body in kubernetes_yaml.documents(result.stdout) if body]

    def _change(self, action: str, release: str, values: Path, *words: str) -> str:
        return self._said(action, release, str(self._chart), "--values", str(values), *words, *self._options())

    def _said(self, action: str, release: str, *words: str) -> str:
        result = self._call(action, release, *words, "--namespace", release)
        return result.stderr.strip() or f"exit code {result.returncode}" if result.returncode else ""

    def _call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self._program), *words],
            env=dict(self._environment),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
