"""Nodes that a release takes for granted, because no NodePool makes them."""

from __future__ import annotations

import copy

import pytest

from chartproof.cluster.objects import INSTANCE_TYPE
from chartproof.cluster.standing_nodes import GPU_PRESENT, standing_nodes
from chartproof.release import Document, Release, dig
from tests import presets

NOBODY_MAKES = (
    "llama-3.1-8b-awq-g6-managed",
    "mistral-7b-generic",
    "qwen3-32b-l40s-hybrid",
    "llama-3.1-8b-awq-h100-mig",
)


@pytest.mark.parametrize("stem", NOBODY_MAKES)
def test_as_many_as_the_most_replicas_and_an_update_need(stem: str) -> None:
    release = presets.render(stem)
    nodes = standing_nodes(release, ())
    (scaled_object,) = release.of_kind("ScaledObject")
    assert len(nodes) == scaled_object.get("spec", "maxReplicaCount") + 1
    (deployment,) = release.of_kind("Deployment")
    pod = deployment.get("spec", "template", "spec")
    for node in nodes:
        labels = node["metadata"]["labels"]
        assert pod["nodeSelector"].items() <= labels.items()
        assert labels[GPU_PRESENT] == "true"
        assert labels[INSTANCE_TYPE] in {"g6.2xlarge", "g6e.xlarge", "g6e.12xlarge", "p5.4xlarge"}
        needed = {k: v for k, v in pod["containers"][0]["resources"]["limits"].items() if k.startswith("nvidia.com/")}
        offered = {k: int(v) for k, v in dig(node, "status", "capacity").items() if k.startswith("nvidia.com/")}
        # Of a slice there are as many as the GPU is cut into; whole GPUs of these types are what a replica takes.
        assert offered == ({"nvidia.com/mig-1g.20gb": 4} if "nvidia.com/mig-1g.20gb" in needed else needed)
        assert [each["key"] for each in node["spec"]["taints"]] == ["nvidia.com/gpu"]
    assert len({each["metadata"]["name"] for each in nodes}) == len(nodes)


@pytest.mark.parametrize("stem", [each for each in presets.STEMS if each not in NOBODY_MAKES])
def test_none_where_a_pool_of_the_release_or_of_the_platform_makes_them(stem: str) -> None:
    platform = "platform-eks-auto-mode" if "auto-mode" in stem else "platform-eks"
    pools = [each.body for each in presets.render(platform).of_kind("NodePool")]
    assert standing_nodes(presets.render(stem), pools) == []


def test_they_stand_in_the_zones_that_the_pods_keep_to() -> None:
    nodes = standing_nodes(presets.render("qwen3-32b-l40s-hybrid"), ())
    assert {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes} == {"berlin-1"}


def test_none_where_the_pods_do_not_say_which_instance_type() -> None:
    (deployment,) = presets.render("mistral-7b-generic").of_kind("Deployment")
    body = copy.deepcopy(dict(deployment.body))
    del body["spec"]["template"]["spec"]["affinity"]
    assert standing_nodes(Release("mistral", (Document(body),)), ()) == []
