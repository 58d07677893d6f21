"""The two entrances of the repository: make, and what continuous integration runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^\.PHONY: (\S+)$", MAKEFILE, re.MULTILINE)

MAKE = shutil.which("make") or ""
needs_make = pytest.mark.skipif(not MAKE, reason="needs make")


@needs_make
def test_help_documents_every_target() -> None:
    told = subprocess.run(
        [MAKE, "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    documented = [line.split()[0] for line in told.splitlines()]
    assert documented == TARGETS
    assert {"setup", "check", "test", "test-all", "demo", "bench", "schemas", "lock", "generate"} <= set(documented)


@needs_make
def test_the_gate_includes_the_fast_part_and_the_cluster() -> None:
    command = [MAKE, "--dry-run", "--always-make", "test"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    order = ["ruff check", "mypy", '-m "not cluster and not slow"', "chartproof check", '-m "cluster or slow"']
    positions = [told.index(each) for each in order]
    assert positions == sorted(positions)


def test_continuous_integration_runs_the_gate(tmp_path: Path) -> None:
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$PWD: $*"\n')
    make.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    told = subprocess.run([str(ROOT / ".ci" / "run")], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == f"{ROOT}: test\n"


def _find_python(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    script = [shutil.which("sh") or "/bin/sh", str(ROOT / "ci" / "find-python")]
    return subprocess.run(script, env={"PATH": str(path), **environment}, capture_output=True, text=True, check=False)


def _python(path: Path, *, suits: bool) -> Path:
    path.write_text(f"#!/bin/sh\nexit {0 if suits else 1}\n")
    path.chmod(0o755)
    return path


def test_without_a_suitable_python_the_user_is_told_what_to_install(tmp_path: Path) -> None:
    _python(tmp_path / "python3", suits=False)  # too old, or without venv
    shutil.copy(shutil.which("cat") or "/bin/cat", tmp_path / "cat")
    result = _find_python(tmp_path)
    assert result.returncode == 1
    assert "Python 3.11 or newer" in result.stderr
    assert "sudo apt-get install -y python3 python3-venv" in result.stderr


def test_a_newer_python_under_another_name_is_found(tmp_path: Path) -> None:
    _python(tmp_path / "python3", suits=False)
    newer = _python(tmp_path / "python3.12", suits=True)
    assert _find_python(tmp_path).stdout.strip() == str(newer)


def test_the_python_that_the_user_names_comes_first(tmp_path: Path) -> None:
    _python(tmp_path / "python3", suits=True)
    named = _python(tmp_path / "mine", suits=True)
    assert _find_python(tmp_path, PYTHON=str(named)).stdout.strip() == str(named)


@pytest.mark.parametrize(
    ("source", "lock"),
    [
        ("requirements/runtime.in", "requirements/runtime.txt"),
        ("requirements/dev.in", "requirements/dev.txt"),
        ("requirements/live.in", "requirements/live.txt"),
        ("ci/toolchain/go/requirements.in", "ci/toolchain/go/requirements.txt"),
        ("ci/toolchain/litellm/requirements.in", "ci/toolchain/litellm/requirements.txt"),
    ],
)
def test_every_dependency_is_locked_with_hashes_and_without_an_index(source: str, lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    hashed = re.findall(
        r"^([\w.-]+(?:\[[\w,]+\])?)==\S+.*?\\\n(?:    --hash=sha256:[0-9a-f]{64}.*\n)+", text, re.MULTILINE
    )
    assert len(hashed) == len(re.findall(r"^\S+==", text, re.MULTILINE))
    pinned = {re.sub(r"\[.*", "", name).lower().replace("_", "-") for name in hashed}
    wanted = {
        re.split(r"[\[=<>; ]", line)[0].lower().replace("_", "-")
        for line in (ROOT / source).read_text(encoding="utf-8").splitlines()
        if line and not line.startswith(("#", "-r"))
    }
    assert wanted <= pinned
