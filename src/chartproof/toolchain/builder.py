"""Builds the programs of a pinned module into the cache."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from chartproof.errors import ToolchainError
from chartproof.signals import unwinding
from chartproof.toolchain import golang
from chartproof.toolchain.pins import BUILD_FLAGS, Module, Program
from chartproof.toolchain.progress import showing
from chartproof.toolchain.store import exclusive, fresh_directory, home

_SHOWN_LINES = 20
_GRACE_SECONDS = 10


def cached(module: Module, program: Program) -> Path:
    """Where the program is, once `build` has made it."""
    return home() / module.name / module.digest / program.name


def build(module: Module) -> None:
    """Build every program of the module into the cache, unless another process just did.

    Needs Go and, for modules not yet in Go's own cache, the network. Raises ToolchainError with
    the compiler's last lines.
    """
    target = home() / module.name / module.digest
    with exclusive(target):
        if all(cached(module, each).exists() for each in module.programs):
            return
        go = golang.find(module.go)
        names = ", ".join(each.name for each in module.programs)
        what = f"building {names} {module.version}"
        with (
            unwinding(),
            showing(what, expected_seconds=module.seconds),
            fresh_directory(target) as scratch,
        ):
            _compile(module, go, scratch)
            for each in module.programs:
                (scratch / each.built).rename(scratch / each.name)
            made_with = {"go": ".".join(map(str, go.version)), "version": module.version}
            (scratch / "build.json").write_text(json.dumps(made_with) + "\n", encoding="utf-8")


def environment(go: golang.Go) -> Mapping[str, str]:
    """The environment of every go command: reproducible, and deaf to what the caller has set."""
    inherited = {name: value for name, value in os.environ.items() if name not in {"GOOS", "GOARCH", "GOENV"}}
    return {
        **inherited,
        "CGO_ENABLED": "0",  # static programs, and no C compiler needed
        "GOENV": "off",
        "GOFLAGS": " ".join(BUILD_FLAGS),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GO111MODULE": "on",
        "PATH": f"{go.command.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def _compile(module: Module, go: golang.Go, scratch: Path) -> None:
    # `tool` is Go's name for everything on go.mod's tool lines; our own programs have sources here.
    packages = "." if any(module.directory.glob("*.go")) else "tool"
    command = [str(go.command), "build", "-ldflags", module.ldflags, "-o", f"{scratch}/"]
    if module.tags:
        command += ["-tags", ",".join(module.tags)]
    command.append(packages)
    # A group of its own: an interrupt must end the compilers that go starts, and only those.
    with subprocess.Popen(
        command,
        cwd=module.directory,
        env=environment(go),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        last = "\n".join(output.strip().splitlines()[-_SHOWN_LINES:])
        raise ToolchainError(
            f"go build failed:\n{last}",
            where=str(module.directory),
            how=_remedy(module, output),
        )


def _end(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def _remedy(module: Module, output: str) -> str:
    explicit = " or ".join(f"${each.variable}" for each in module.programs)
    alternatives = f"install the program yourself ({module.programs[0].install}) and name it in {explicit}"
    if "dial tcp" in output or "no such host" in output or "proxyconnect" in output:
        return f"modules could not be downloaded: check the network and GOPROXY; or {alternatives}"
    if "no space left" in output:
        return "free some disk space: builds need up to 20 GB in Go's caches"
    if "checksum mismatch" in output:
        return "a download differs from go.sum: do not trust it; check GOPROXY"
    return alternatives
