from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from chartproof import resources, toolchain
from chartproof.errors import ToolchainError, UsageError
from chartproof.toolchain import crds, pins

ROOT = resources.directory("toolchain")
GO_MODULES = sorted(each.parent for each in ROOT.glob("*/go.mod"))


def test_every_program_of_the_harness_is_described() -> None:
    assert {*toolchain.RENDERING, *toolchain.CONTROL_PLANE, *toolchain.LIVE_LOOP} <= set(pins.programs())


@pytest.mark.parametrize("directory", GO_MODULES, ids=lambda each: each.name)
def test_every_pin_is_checksummed(directory: Path) -> None:
    sums = (directory / "go.sum").read_text()
    replaced = dict(
        re.findall(r"^\s*(?:replace )?(\S+) => \S+ (v\S+)$", (directory / "go.mod").read_text(), re.MULTILINE)
    )
    for path, version in pins.pinned(directory).items():
        assert f"{path} {replaced.get(path, version)}/go.mod h1:" in sums


@pytest.mark.parametrize("directory", GO_MODULES, ids=lambda each: each.name)
def test_every_pin_is_a_released_or_exact_version(directory: Path) -> None:
    for version in pins.pinned(directory).values():
        assert re.fullmatch(r"v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+incompatible)?", version)


def test_the_modules_of_kubernetes_are_of_one_version() -> None:
    text = (ROOT / "kubernetes" / "go.mod").read_text()
    versions = set(re.findall(r"^\tk8s\.io/\S+ => k8s\.io/\S+ v0\.(\S+)$", text, re.MULTILINE))
    assert {f"1.{each}" for each in versions} == {pins.modules()["kubernetes"].version}


def test_a_version_knows_its_order() -> None:
    assert pins.parse_version("1.9.0") < pins.parse_version("1.10")
    with pytest.raises(ValueError, match="invalid literal"):
        pins.parse_version("1.x")


def test_the_module_version_of_prometheus_becomes_that_of_its_programs() -> None:
    module = pins.modules()["prometheus"]
    minor = pins.pinned(module.directory)["github.com/prometheus/prometheus"].removeprefix("v0.3")
    assert module.version == f"3.{minor}"


def test_kwokctl_is_told_which_kubernetes_it_starts() -> None:
    version = pins.modules()["kubernetes"].version
    assert f"consts.KubeVersion={version}" in pins.modules()["kwok"].ldflags


def test_pinned_programs_suit_themselves() -> None:
    for module in pins.modules().values():
        for program in module.programs:
            if program.probe:
                assert program.suits(pins.parse_version(module.version)), program.name


def test_the_live_loop_is_there_without_asking_for_it() -> None:
    assert {*toolchain.LIVE_LOOP} <= {*pins.usual()}


def test_no_two_programs_have_one_name_and_every_one_is_a_tool_of_its_module() -> None:
    built = [each.name for module in pins.modules().values() for each in module.programs]
    assert len(built) == len(set(built))
    for module in pins.modules().values():
        if not module.entry and not any(module.directory.glob("*.go")):
            tools = re.findall(r"^(?:tool |\t)(\S+)$", (module.directory / "go.mod").read_text(), re.MULTILINE)
            # As `go build` names a program: by the last part of its path that is not a major version.
            names = {re.sub(r"/v\d+$", "", each).rpartition("/")[2] for each in tools}
            assert {each.built for each in module.programs} == names - {"", "("}, module.name


def test_an_unknown_program_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="kubeconform"):
        pins.program("helmet")


def _copy(name: str, to: Path) -> Path:
    target = to / name
    target.mkdir()
    for each in (ROOT / name).iterdir():
        (target / each.name).write_bytes(each.read_bytes())
    return target


def test_the_digest_names_everything_that_a_build_depends_on(tmp_path: Path) -> None:
    directory = _copy("formula", tmp_path)
    before = pins._digest(directory, "-s")
    assert pins._digest(directory, "-s") == before
    assert pins._digest(directory, "-s -w") != before
    assert pins._digest(directory, "-s", ("netgo",)) != before
    source = directory / "main.go"
    source.write_text(source.read_text() + "\n// changed\n")
    assert pins._digest(directory, "-s") != before


def test_a_program_without_a_pin_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    directory = _copy("helm", tmp_path)
    with pytest.raises(ToolchainError, match=r"helm/go\.mod: example\.com/none is not pinned"):
        pins._program_version(directory, {"source": "example.com/none"})


def test_replacements_are_no_pins(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text(
        "module m\n\nrequire a.b/c v1.0.0\n\nreplace (\n\tx.y/z => x.y/z v9.9.9\n)\n\n"
        "require (\n\td.e/f v2.0.0 // indirect\n)\n"
    )
    assert pins.pinned(tmp_path) == {"a.b/c": "v1.0.0", "d.e/f": "v2.0.0"}


def test_every_definition_comes_from_a_pinned_module() -> None:
    with (ROOT / "crds" / "files.toml").open("rb") as stream:
        wanted = tomllib.load(stream)
    assert set(wanted) <= set(pins.pinned(ROOT / "crds"))


def test_a_stream_of_json_objects_is_read_one_by_one() -> None:
    assert crds._objects('{"a": 1}\n{"b": [2]}\n') == [{"a": 1}, {"b": [2]}]
    assert crds._objects(" \n") == []


@pytest.mark.parametrize("name", ["litellm", "vllm-router"])
def test_a_python_program_has_the_version_that_is_locked(name: str) -> None:
    module = pins.modules()[name]
    assert module.entry
    assert f"{name}=={module.version}" in (ROOT / name / "requirements.in").read_text().replace("[proxy]", "")
    assert pins.locked(module.directory)[name] == module.version
