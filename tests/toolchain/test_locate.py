"""Where programs are taken from, with small scripts in their places."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from chartproof import cli, toolchain
from chartproof.errors import ToolchainError
from chartproof.toolchain import pins, store
from chartproof.toolchain.builder import cached
from chartproof.toolchain.locate import Origin


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has nothing: empty cache, empty PATH, no variables."""
    for name in [*os.environ]:
        if name.startswith("CHARTPROOF_"):
            monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    toolchain.resolve.cache_clear()
    return tmp_path


def _script(path: Path, prints: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)
    return path


def _put_into_cache(name: str) -> Path:
    module = pins.modules()[pins.program(name).module]
    return _script(cached(module, pins.program(name)), "cached")


def test_a_machine_without_anything_misses_everything() -> None:
    assert {each.origin for each in toolchain.status()} == {Origin.MISSING}


def test_a_suitable_program_on_path_is_taken(machine: Path) -> None:
    helm = _script(machine / "bin" / "helm", "v4.3.7")
    found = toolchain.find("helm")
    assert (found.origin, found.path, found.version) == (Origin.PATH, helm, "4.3.7")
    assert toolchain.resolve("helm") == helm


@pytest.mark.parametrize("version", ["v3.22.0", "v4.2.9", "v5.0.0"])
def test_a_version_that_was_not_tried_is_passed_over(machine: Path, version: str) -> None:
    _script(machine / "bin" / "helm", version)
    found = toolchain.find("helm")
    assert found.origin is Origin.MISSING
    assert f"version {version.removeprefix('v')}, wanted is >=4.3,<5" in found.note


def test_a_program_that_only_has_the_name_is_passed_over(machine: Path) -> None:
    _script(machine / "bin" / "helm", "Helm, the text adventure 4.3.1")  # the index of Python packages has such a helm
    assert "another program (says 'Helm, the text adventure 4.3.1')" in toolchain.find("helm").note


def test_the_cache_comes_before_path(machine: Path) -> None:
    _script(machine / "bin" / "helm", "v4.3.7")
    built = _put_into_cache("helm")
    assert (toolchain.find("helm").origin, toolchain.resolve("helm")) == (Origin.CACHE, built)


def test_the_variable_comes_before_the_cache_and_may_name_any_version(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put_into_cache("helm")
    older = _script(machine / "elsewhere" / "helm3", "v3.22.0")
    monkeypatch.setenv("CHARTPROOF_HELM", str(older))
    found = toolchain.find("helm")
    assert (found.origin, found.path, found.version) == (Origin.ENVIRONMENT, older, "3.22.0")


def test_a_variable_that_names_another_program_is_an_error(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = _script(machine / "elsewhere" / "scheduler", "etcd Version: 3.6.8")
    monkeypatch.setenv("CHARTPROOF_KUBE_SCHEDULER", str(wrong))
    with pytest.raises(ToolchainError, match=r"is not kube-scheduler: it says 'etcd Version: 3\.6\.8'"):
        toolchain.find("kube-scheduler")


def test_a_variable_that_names_nothing_is_an_error(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARTPROOF_HELM", str(machine / "none"))
    with pytest.raises(ToolchainError, match="unset CHARTPROOF_HELM"):
        toolchain.resolve("helm")


def test_our_own_program_is_never_taken_from_path(machine: Path) -> None:
    _script(machine / "bin" / "formula", "1.0.0")
    assert toolchain.find("formula").origin is Origin.MISSING


def test_the_cache_is_outside_the_tree_and_named_by_pin(machine: Path) -> None:
    module = pins.modules()["helm"]
    expected = machine / "cache" / "chartproof" / "toolchain" / "helm" / module.digest / "helm"
    assert cached(module, module.program("helm")) == expected


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the convention
    assert store.home() == Path.home() / ".cache" / "chartproof" / "toolchain"


def test_status_tells_what_would_happen(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _put_into_cache("helm")
    _script(machine / "bin" / "etcd", "etcd Version: 3.5.0")
    assert cli.main(["toolchain", "status"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == set(pins.programs())
    assert "cache" in lines["helm"]
    assert "wanted is >=3.6,<3.7" in lines["etcd"]
    assert "would be built" in lines["kubectl"]


def test_status_is_also_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["toolchain", "status", "kwok", "--format", "json"]) == 0
    [only] = json.loads(capsys.readouterr().out)["programs"]
    assert (only["name"], only["origin"], only["path"]) == ("kwok", "missing", None)


def test_path_prints_where_a_program_is(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    helm = _script(machine / "bin" / "helm", "v4.3.7")
    assert cli.main(["toolchain", "path", "helm"]) == 0
    assert capsys.readouterr().out == f"{helm}\n"


def test_an_unknown_program_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["toolchain", "path", "helmet"]) == 2
    assert "helmet" in capsys.readouterr().err
