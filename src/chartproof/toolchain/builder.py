"""Builds the programs of a pinned module into the cache, or installs those of a Python package there."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
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
        go = None if module.entry else golang.find(module.go)
        names = ", ".join(each.name for each in module.programs)
        what = f"{'building' if go else 'installing'} {names} {module.version}"
        with (
            unwinding(),
            showing(what, expected_seconds=module.seconds),
            fresh_directory(target) as scratch,
        ):
            if go is None:
                _install(module, scratch, target)
                made_with = {"python": platform.python_version(), "version": module.version}
            else:
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
    code, output = _run(command, module.directory, environment(go))
    if code:
        last = "\n".join(output.strip().splitlines()[-_SHOWN_LINES:])
        raise ToolchainError(
            f"go build failed:\n{last}",
            where=str(module.directory),
            how=_remedy(module, output),
        )


def _install(module: Module, scratch: Path, target: Path) -> None:
    """Install the locked packages beside a program that imports them, and nothing that others have installed."""
    packages = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"),
        *("--require-hashes", "--only-binary=:all:", "--no-compile"),
        *("--target", str(scratch / "packages"), "--requirement", str(module.directory / "requirements.txt")),
    ]
    code, output = _run(packages, module.directory, os.environ)
    if code:
        last = "\n".join(output.strip().splitlines()[-_SHOWN_LINES:])
        raise ToolchainError(
            f"pip could not install {module.name}:\n{last}",
            where=str(module.directory / "requirements.txt"),
            how="check the network and pip's index",
        )
    package, _, function = module.entry.partition(":")
    for each in module.programs:
        program = scratch / each.name
        # Not the virtual environment's interpreter: that goes with its checkout.
        program.write_text(
            f"#!{Path(sys.executable).resolve()} -I\n"
            "import sys\n\n"
            f"sys.path.insert(0, {str(target / 'packages')!r})\n"
            f"from {package} import {function}\n\n"
            f"sys.exit({function}())\n",
            encoding="utf-8",
        )
        program.chmod(0o755)


def _run(command: list[str], directory: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """Run a command to its end; its exit code and what it said."""
    # A group of its own: an interrupt must end the compilers that go starts, and only those.
    with subprocess.Popen(
        command,
        cwd=directory,
        env=variables,
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
    return process.returncode, output


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
