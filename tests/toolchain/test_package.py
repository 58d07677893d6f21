"""The wheel works on its own: data inside, dependencies named, no checkout needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(target), str(ROOT)], check=True, capture_output=True)
    [built] = target.glob("chartproof-*.whl")
    return built


def test_the_wheel_carries_catalog_schemas_and_pins(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for kept, carried in (
        ("charts/llm-inference/files/catalog", "catalog"),
        ("schemas", "schemas"),
        ("ci/toolchain", "toolchain"),
    ):
        files = [each for each in (ROOT / kept).rglob("*") if each.is_file() and "__pycache__" not in each.parts]
        assert files
        missing = {f"chartproof/data/{carried}/{each.relative_to(ROOT / kept)}" for each in files} - names
        assert missing == set()


def test_the_wheel_names_what_it_imports(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    # What only an extra needs is named with `; extra == "..."` behind it.
    required = {each.lower() for each in re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE)}
    lines = (ROOT / "requirements" / "runtime.in").read_text(encoding="utf-8").splitlines()
    assert required == {line.split()[0].lower() for line in lines if line and not line.startswith("#")}


def test_an_installed_chartproof_finds_its_data_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [
        sys.executable,
        "-c",
        "import chartproof, sys; print(chartproof.__file__); from chartproof.cli import main; sys.exit(main())",
    ]
    command += ["toolchain", "status", "helm", "--format", "json"]
    told = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    where, _, report = told.partition("\n")
    assert Path(where).is_relative_to(tmp_path)
    assert json.loads(report)["programs"][0]["name"] == "helm"
