"""What an installation says at its end."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from chartproof import toolchain
from tests.chart.conftest import Values, merged
from tests.presets import CHART, STEMS, path_of


def notes(directory: Path, *layers: Values) -> str:
    values = directory / "values.yaml"
    values.write_text(yaml.safe_dump(merged(*layers)), encoding="utf-8")
    helm = str(toolchain.resolve("helm"))
    done = subprocess.run(
        [helm, "install", "chat", str(CHART), "--namespace", "models", "--dry-run=client", "--values", str(values)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.partition("NOTES:")[2]


def preset(stem: str) -> Values:
    loaded: Values = yaml.safe_load(path_of(stem).read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("stem", STEMS)
def test_every_preset_says_what_it_needs(tmp_path: Path, stem: str) -> None:
    text = notes(tmp_path, preset(stem))
    assert "Needed in the cluster before this release" in text
    assert "<no value>" not in text
    assert "%!" not in text


def test_commands_name_this_release(tmp_path: Path) -> None:
    text = notes(tmp_path, preset("mistral-7b-g5-efs"))
    for words in (
        "kubectl --namespace models",
        "service/chat-llm-inference",
        "get secret mistral-7b-api-key",
        '"model": "mistral-7b"',
        "helm upgrade --install keda",
    ):
        assert words in text


def test_identity_and_weights_that_have_to_be_made_are_told(tmp_path: Path) -> None:
    text = notes(tmp_path, preset("llama-3.1-8b-awq-g6"))
    assert "create-pod-identity-association" in text
    assert "--service-account chat-llm-inference" in text
    assert "chartproof stage-weights hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4" in text


def test_a_node_group_of_size_zero_is_described_for_cluster_autoscaler(tmp_path: Path) -> None:
    template = "k8s.io/cluster-autoscaler/node-template"
    text = notes(tmp_path, preset("llama-3.1-8b-awq-g6-managed"))
    for line in (
        f"{template}/label/llm-inference.io/pool = gpu",
        f"{template}/taint/nvidia.com/gpu = true:NoSchedule",
        f"{template}/resources/nvidia.com/gpu = GPUs of one instance",
    ):
        assert f"    {line}\n" in text
    sliced = notes(tmp_path, preset("llama-3.1-8b-awq-h100-mig"))
    assert f"    {template}/resources/nvidia.com/mig-1g.20gb = slices of one instance\n" in sliced
    assert f"{template}/resources/nvidia.com/gpu" not in sliced


def test_hybrid_nodes_are_described_as_they_must_join(tmp_path: Path) -> None:
    text = notes(tmp_path, preset("qwen3-32b-l40s-hybrid"))
    for line in (
        "label llm-inference.io/pool=gpu",
        "label nvidia.com/gpu.present=true",
        "taint nvidia.com/gpu=true:NoSchedule",
        "label topology.kubernetes.io/zone=<site: berlin-1>",
        "label node.kubernetes.io/instance-type=g6e.12xlarge",
    ):
        assert f"    {line}\n" in text
    assert "k8s.io/cluster-autoscaler" not in text


def test_drain_that_a_spot_node_does_not_wait_for_is_warned_of(tmp_path: Path) -> None:
    spot = preset("llama-3.1-8b-g6e-serverless")
    assert "LLM354" not in notes(tmp_path, spot)
    assert "LLM354" in notes(tmp_path, spot, {"engine": {"drainSeconds": 200}})


def test_open_release_is_warned_of(tmp_path: Path) -> None:
    assert "LLM402" in notes(tmp_path)
    closed = {"security": {"networkPolicy": {"enabled": True, "clientNamespaces": ["apps"]}}}
    assert "LLM402" not in notes(tmp_path, closed)


def test_a_group_is_told_of_with_what_makes_it(tmp_path: Path) -> None:
    text = notes(tmp_path, preset("kimi-k2.5-p5-groups"))
    assert "Derived for one replica of 16 GPU(s) on 2 nodes, on the smallest instance type (p5.48xlarge):" in text
    assert "helm upgrade --install lws oci://registry.k8s.io/lws/charts/lws" in text
    assert re.search(r"logs pod/\S+-0 --container check-weights --follow", text)
    assert "must ignore differences of spec.replicas of the LeaderWorkerSet" in text
    assert "LeaderWorkerSet" not in notes(tmp_path, preset("llama-3.1-8b-g6e-serverless"))
