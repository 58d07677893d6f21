"""The steps of docs/model-upgrade.md, rendered as they are written there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof import helm
from chartproof.release import Release
from tests.presets import CHART, ROOT, path_of

pytestmark = pytest.mark.slow

PAGE = ROOT / "docs" / "model-upgrade.md"
PRESET = "llama-3.1-8b-awq-g6"
CLUSTER_WIDE = {"NodePool", "EC2NodeClass", "ClusterRole", "ClusterRoleBinding"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = tmp_path_factory.mktemp("upgrade")
    found = {}
    for name, content in re.findall(r"<!-- file: (\S+) -->\n```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL):
        found[name] = where / name
        found[name].write_text(content)
    (where / "blue.yaml").write_text("fullnameOverride: llama-blue\n")
    return {**found, "blue.yaml": where / "blue.yaml"}


def _render(name: str, *values: Path) -> Release:
    return helm.render(helm.Rendering(CHART, name, name, values, namespace="llm"))


@pytest.fixture(scope="module")
def blue(files: dict[str, Path]) -> Release:
    return _render("llama-blue", path_of(PRESET), files["blue.yaml"])


@pytest.fixture(scope="module")
def green(files: dict[str, Path]) -> Release:
    return _render("llama-green", path_of(PRESET), files["green.yaml"])


def _targets(release: Release) -> list[dict[str, Any]]:
    (found,) = [each.body["data"] for each in release.of_kind("ConfigMap") if "config.yaml" in each.body["data"]]
    return [
        each["litellm_params"] | {"group": each["model_name"]}
        for each in yaml.safe_load(found["config.yaml"])["model_list"]
    ]


def test_both_revisions_stand_beside_each_other(blue: Release, green: Release) -> None:
    def names(release: Release) -> set[tuple[str, str, str]]:
        return {
            (each.kind, "" if each.kind in CLUSTER_WIDE else each.namespace, each.name) for each in release.documents
        }

    assert not names(blue) & names(green)


def test_they_serve_the_same_name_from_different_revisions(blue: Release, green: Release) -> None:
    def told(release: Release) -> tuple[str, str]:
        (deployment,) = release.of_kind("Deployment")
        words = deployment.get("spec", "template", "spec", "containers", 0, "args")
        whole = str(deployment.get("spec", "template", "spec"))
        return words[words.index("--served-model-name") + 1], whole

    (name, old), (same, new) = told(blue), told(green)
    assert name == same == "llama-3.1-8b"
    assert "9d2e77c1" in new
    assert "9d2e77c1" not in old


def test_neither_service_nor_autoscaler_takes_the_other_s_pods(blue: Release, green: Release) -> None:
    (service,) = blue.of_kind("Service")
    (other,) = green.of_kind("Deployment")
    labels = other.get("spec", "template", "metadata", "labels")
    assert not service.get("spec", "selector").items() <= labels.items()
    (scaled,) = blue.of_kind("ScaledObject")
    pod = f"{other.name}-7c9d8f6b5d-abcde"
    for trigger in scaled.get("spec", "triggers"):
        for pattern in re.findall(r'pod=~"([^"]+)"', trigger["metadata"].get("query", "")):
            assert re.fullmatch(pattern, "llama-blue-7c9d8f6b5d-abcde")
            assert not re.fullmatch(pattern, pod)


@pytest.mark.parametrize(
    ("step", "shares"),
    [
        ("gateway.yaml", {"llama-blue": 1}),
        ("share.yaml", {"llama-blue": 90, "llama-green": 10}),
        ("switch.yaml", {"llama-blue": 0, "llama-green": 1}),
    ],
)
def test_the_gateway_shares_the_requests_between_them(
    files: dict[str, Path], blue: Release, green: Release, step: str, shares: dict[str, int]
) -> None:
    release = _render("gateway", *dict.fromkeys((files["gateway.yaml"], files[step])))
    targets = _targets(release)
    assert {each["group"] for each in targets} == {"llama-3.1-8b"}
    found = {each["api_base"].removeprefix("http://").partition(".")[0]: each["weight"] for each in targets}
    assert found == shares
    services = {each.name for both in (blue, green) for each in both.of_kind("Service")}
    assert set(found) <= services
    # A new configuration is read by new pods, one after the other.
    (deployment,) = release.of_kind("Deployment")
    assert deployment.get("spec", "strategy", "rollingUpdate", "maxUnavailable") == 0


def test_each_step_changes_what_the_gateway_s_pods_read(files: dict[str, Path]) -> None:
    marks = set()
    for step in ("share.yaml", "switch.yaml"):
        (deployment,) = _render("gateway", files["gateway.yaml"], files[step]).of_kind("Deployment")
        marks.add(str(deployment.get("spec", "template", "metadata", "annotations")))
    assert len(marks) == 2
