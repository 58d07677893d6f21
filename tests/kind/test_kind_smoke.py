"""`python -m ci.kind` short of the cluster: what it asks for, in which order, and that it cleans up."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from chartproof import helm
from chartproof.check import check
from chartproof.findings import Severity
from ci.kind import __main__ as kind
from tests import presets


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A directory whose programs write down how they were called; `FAILS` holds the words of the one that fails."""
    programs = tmp_path / "bin"
    programs.mkdir()
    versions = {"docker": "", "kind": "kind v0.32.0", "kubectl": "Client Version: v1.36.3", "helm": "v4.3.1"}
    for name, version in versions.items():
        script = programs / name
        script.write_text(
            f'#!/bin/sh\n[ "$1" = version ] && echo "{version}" && exit\n'
            f'echo "{name} $*" >> "{tmp_path}/calls"\n'
            f'fails=$(cat "{tmp_path}/fails" 2>/dev/null || echo none)\n'
            f'case "{name} $*" in "$fails"*) echo broken >&2; exit 7;; esac\n'
        )
        script.chmod(0o755)
    return tmp_path


def run(machine: Path, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {f"CHARTPROOF_{name.upper()}": str(machine / "bin" / name) for name in ("kind", "kubectl", "helm")}
    environment = {**os.environ, **variables, "PATH": f"{machine / 'bin'}:{os.environ['PATH']}"}
    return subprocess.run(
        [sys.executable, "-m", "ci.kind", *words],
        cwd=presets.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def calls(machine: Path) -> list[str]:
    return (machine / "calls").read_text().splitlines()


def test_without_docker_it_says_so() -> None:
    assert kind.missing({"PATH": "/nonexistent"}) == "there is no docker on PATH"


def test_a_docker_engine_that_does_not_answer_is_named(machine: Path) -> None:
    (machine / "fails").write_text("docker info")
    result = run(machine)
    assert result.returncode == 3
    assert "the Docker engine does not answer: broken" in result.stderr
    assert calls(machine) == ["docker info"]


def test_prerequisites_are_those_of_the_charts_notes() -> None:
    found = kind.installations(kind._PREREQUISITES.read_text())
    assert [words[2] for words in found] == ["keda", "monitoring"]
    assert all("--version" in words and "--wait" in words for words in found)


@pytest.mark.slow
def test_the_cluster_is_made_used_and_deleted(machine: Path) -> None:
    # The tests themselves find no cluster behind the made-up kubeconfig, which is their failure and not a crash.
    result = run(machine, "--", "--collect-only", "--quiet")
    told = calls(machine)
    assert result.returncode == 0, result.stderr
    assert [each.split()[0:2] for each in told] == [
        ["docker", "info"],
        ["docker", "build"],
        ["kind", "create"],
        ["kind", "load"],
        ["kubectl", "patch"],
        ["kubectl", "apply"],
        ["helm", "upgrade"],
        ["helm", "upgrade"],
        ["kind", "delete"],
    ]
    assert "test_scenario[burst]" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["kind create", "kind load", "helm upgrade"])
def test_a_failure_on_the_way_still_deletes_the_cluster(machine: Path, broken: str) -> None:
    (machine / "fails").write_text(broken)
    result = run(machine)
    assert result.returncode == 3
    assert f"{broken} failed with exit code 7" in result.stderr
    assert calls(machine)[-1].startswith("kind delete cluster")


@pytest.mark.slow
def test_the_image_gets_a_wheel_with_everything_the_engine_reads(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(words, cwd=presets.ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "chartproof/cluster/machines/engine_process.py" in names
    assert "chartproof/data/catalog/models.yaml" in names
    # What the Dockerfile copies is what is gathered.
    copied = {line.split()[1] for line in (kind.HERE / "Dockerfile").read_text().splitlines() if "COPY" in line}
    assert copied == {"live.txt", "--chmod=755"}
    assert os.access(kind.HERE / "vllm", os.X_OK)


def test_the_preset_is_clean_but_for_what_a_cluster_for_tests_may_lack() -> None:
    release = helm.render(helm.Rendering(presets.CHART, "kind", "kind", (kind.PRESET,)))
    assert not check([release]).fails(Severity.WARNING)


def test_the_node_of_the_cluster_is_one_that_the_preset_asks_for() -> None:
    config = yaml.safe_load((kind.HERE / "cluster.yaml").read_text())
    (node,) = config["nodes"]
    values = yaml.safe_load(kind.PRESET.read_text())
    assert node["labels"]["llm-inference.io/pool"] == values["nodes"]["poolName"]
    assert node["labels"]["node.kubernetes.io/instance-type"] in values["nodes"]["instanceTypes"]
    assert f"{values['engine']['image']['repository']}:{values['engine']['image']['tag']}" == kind.IMAGE
