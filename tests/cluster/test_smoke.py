"""The smoke test itself, on a small chart with switches for what can go wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chartproof import cli
from chartproof.cluster import Cluster
from chartproof.cluster.smoke import Outcome, Smoke

pytestmark = pytest.mark.cluster

HERE = Path(__file__).parent
PATIENT = 60
"""Seconds: for what is to succeed, also on a busy machine."""
BRIEF = 8
"""Seconds: for what never comes about, and would otherwise cost every run its whole patience."""


def _smoke(cluster: Cluster, seconds: int) -> Smoke:
    return Smoke(cluster, HERE / "chart", tell=lambda _message: None, timeout_seconds=seconds)


@pytest.fixture(scope="module")
def smoke(embedded_cluster: Cluster) -> Smoke:
    return _smoke(embedded_cluster, PATIENT)


def _values(name: str) -> Path:
    return HERE / "values" / f"{name}.yaml"


def _run(smoke: Smoke, name: str) -> tuple[Outcome, Outcome]:
    with smoke.platform(_values("platform")) as platform:
        return platform, smoke.model(_values(name), platform)


def test_a_good_preset_passes_and_leaves_nothing(smoke: Smoke, embedded_cluster: Cluster) -> None:
    platform, model = _run(smoke, "model")
    assert (platform.problems, model.problems) == ([], [])
    first, second, job = model.places
    assert (first.pool, first.instance, first.capacity_type, first.gpus) == ("model", "g6.xlarge", "on-demand", 1)
    assert first.node != second.node
    assert first.zone != second.zone
    assert (job.instance, job.pool, job.gpus) == ("m7i.2xlarge", "", 0)
    assert model.provided == ["Secret model/api (key)"]
    assert model.kept == ["PersistentVolumeClaim/weights"]
    assert [each["metadata"]["name"] for each in embedded_cluster.api.list("v1", "Node")] == ["system-0"]


def test_a_preset_that_rests_at_zero_is_woken(smoke: Smoke) -> None:
    _, model = _run(smoke, "resting")
    assert model.problems == []
    assert "scale engine from 0 to 1" in [each.name for each in model.steps]


@pytest.mark.parametrize(
    ("name", "seconds", "expected"),
    [
        ("intolerant", BRIEF, ["does not tolerate the taint nvidia.com/gpu=true:NoSchedule"]),
        ("too-large", BRIEF, ["no type that both allow has 16 GPU"]),
        ("lost-service", 20, ["Service/engine has no ready endpoint", "PodDisruptionBudget/engine selects no pod"]),
        ("stray", 20, ["ConfigMap/stray is left after the uninstall"]),
        ("forgetful", PATIENT, ["helm upgrade failed"]),
    ],
)
def test_what_is_wrong_is_noticed_and_named(
    smoke: Smoke, embedded_cluster: Cluster, name: str, seconds: int, expected: list[str]
) -> None:
    with smoke.platform(_values("platform")) as platform:
        model = _smoke(embedded_cluster, seconds).model(_values(name), platform)
    for problem in expected:
        assert any(problem in each for each in model.problems), model.problems


def test_a_pool_whose_node_class_is_missing_makes_no_node(embedded_cluster: Cluster) -> None:
    model = _smoke(embedded_cluster, BRIEF).model(_values("model"))  # without the platform, which brings the class
    assert any("its node class EC2NodeClass.karpenter.k8s.aws/gpu does not exist" in each for each in model.problems)


def test_the_command_reports_as_json_and_ends_with_findings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["smoke", "--chart", str(HERE / "chart"), "--platform", str(_values("platform")), "--format", "json"]
    words += [
        "--state-dir",
        str(tmp_path),
        "--timeout",
        str(PATIENT),
        str(_values("resting")),
        str(_values("forgetful")),
    ]
    assert cli.main(words) == 1
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert [each["preset"] for each in report["releases"]] == ["platform", "resting", "forgetful"]
    assert [bool(each["problems"]) for each in report["releases"]] == [False, False, True]
    assert report["releases"][1]["places"][0]["pool"] == "resting"
    assert "helm install" in printed.err


def test_a_preset_that_does_not_exist_is_refused_before_anything_starts(tmp_path: Path) -> None:
    assert cli.main(["smoke", str(tmp_path / "missing.yaml"), "--state-dir", str(tmp_path)]) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_preset_that_does_not_render_is_refused_before_anything_starts(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("replicas: [\n")
    state_dir = tmp_path / "state"
    assert cli.main(["smoke", "--chart", str(HERE / "chart"), str(broken), "--state-dir", str(state_dir)]) == 3
    assert not state_dir.exists()
