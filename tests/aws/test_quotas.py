from __future__ import annotations

from typing import Any

import pytest

from chartproof.aws import facts, quotas
from chartproof.catalog import catalog
from tests import presets
from tests.aws.releases import described

WORKLOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: engine}
spec:
  replicas: 4
  strategy: {rollingUpdate: {maxSurge: 1}}
  template:
    spec:
      tolerations: [{operator: Exists}]
      containers:
        - name: vllm
          image: vllm/vllm-openai:v0.33.0
          resources: {limits: {nvidia.com/gpu: 2}}
"""
POOL = """
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: %(name)s}
spec:
  limits: %(limits)s
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: gpu}
      requirements:
        - {key: node.kubernetes.io/instance-type, operator: In, values: [%(types)s]}
        - {key: karpenter.sh/capacity-type, operator: In, values: [%(capacity)s]}
"""


def _pool(types: str, capacity: str = "on-demand", limits: str = "{}", name: str = "gpu") -> str:
    return POOL % {"types": types, "capacity": capacity, "limits": limits, "name": name}


def _needed(text: str) -> Any:
    return described(text)["quotas"]["needed"]


def test_every_gpu_instance_of_the_catalog_has_its_bucket() -> None:
    for each in catalog().instances.values():
        on_demand, spot = facts.quota(each.family, spot=False), facts.quota(each.family, spot=True)
        assert on_demand is not None
        assert on_demand.code == ("L-DB2E81BA" if each.family.startswith("g") else "L-417A185B")
        expected = {"g": "L-3819A6DF", "p3": "L-7212CCBC", "p4": "L-7212CCBC", "p5": "L-C4BD4855", "p6": None}
        key = "g" if each.family.startswith("g") else each.family[:2]
        assert (spot.code if spot else None) == expected[key]


def test_other_families_have_no_quota_of_ours() -> None:
    assert facts.quota("m7i", spot=False) is None


def test_most_replicas_and_surge_on_the_cheapest_and_the_largest_type() -> None:
    # 5 pods of 2 GPUs: two to a g6.12xlarge with 4 GPUs (48 vCPUs), four to a g6.48xlarge with 8 (192).
    [found] = _needed(WORKLOAD + _pool("g6.12xlarge, g6.48xlarge, g6.xlarge"))
    [need] = found["needs"]
    assert (need["replicas"], need["surge"], need["gpus"]) == (4, 1, 10)
    assert need["instanceTypes"] == ["g6.12xlarge", "g6.48xlarge"]
    assert need["cheapest"] == {"instanceType": "g6.12xlarge", "nodes": 3, "vcpus": 144}
    assert need["largest"] == {"instanceType": "g6.48xlarge", "nodes": 2, "vcpus": 384}
    assert (found["code"], found["cheapestVcpus"], found["largestVcpus"]) == ("L-DB2E81BA", 144, 384)
    assert found["commands"][1].endswith("--quota-code L-DB2E81BA --desired-value 384")


def test_the_autoscaler_has_the_last_word_about_replicas() -> None:
    scaler = """
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: engine}
spec: {scaleTargetRef: {name: engine}, maxReplicaCount: 9}
"""
    [found] = _needed(WORKLOAD + _pool("g6.12xlarge") + scaler)
    assert (found["needs"][0]["replicas"], found["cheapestVcpus"]) == (9, 5 * 48)


@pytest.mark.parametrize(
    ("strategy", "surge"),
    [
        ("{rollingUpdate: {maxSurge: 50%}}", 2),
        ("{rollingUpdate: {maxSurge: 0}}", 0),
        ("{type: Recreate}", 0),
        ("{}", 1),
    ],
)
def test_surge_is_read_as_kubernetes_does(strategy: str, surge: int) -> None:
    text = WORKLOAD.replace("{rollingUpdate: {maxSurge: 1}}", strategy)
    assert _needed(text + _pool("g6.12xlarge"))[0]["needs"][0]["surge"] == surge


def test_spot_and_on_demand_are_counted_apart_and_each_in_full() -> None:
    text = WORKLOAD + _pool("g6.12xlarge", "spot", name="spot") + _pool("g6.12xlarge, p5.48xlarge", name="other")
    assert {(each["code"], each["capacityType"]): each["cheapestVcpus"] for each in _needed(text)} == {
        ("L-3819A6DF", "spot"): 144,
        ("L-DB2E81BA", "on-demand"): 144,
        ("L-417A185B", "on-demand"): 384,
    }


def test_reserved_capacity_counts_as_on_demand() -> None:
    [found] = _needed(WORKLOAD + _pool("p5.48xlarge", "reserved"))
    assert (found["code"], found["capacityType"]) == ("L-417A185B", "on-demand")


def test_spot_that_aws_lists_no_quota_for_is_said() -> None:
    [found] = _needed(WORKLOAD + _pool("p6-b200.48xlarge", "spot"))
    assert found["code"] is None
    assert found["name"] == "none that AWS lists: ask AWS"
    assert found["commands"] == []


def test_a_pool_that_nothing_lands_on_counts_with_its_limit() -> None:
    [found] = _needed(_pool("g6.xlarge, g6.12xlarge", limits="{nvidia.com/gpu: 10}"))
    [need] = found["needs"]
    assert (need["source"], need["replicas"], need["gpus"]) == ("NodePool/gpu", 0, 10)
    assert need["cheapest"] == {"instanceType": "g6.xlarge", "nodes": 10, "vcpus": 40}
    assert need["largest"] == {"instanceType": "g6.12xlarge", "nodes": 3, "vcpus": 144}


def test_a_pool_without_limit_cannot_be_counted() -> None:
    quotas = described(_pool("g6.xlarge"))["quotas"]
    assert quotas["needed"] == []
    assert quotas["unsized"] == [
        {"source": "NodePool/gpu", "reason": "no limit of GPUs or nodes, or no known instance type"}
    ]


def test_pods_that_name_their_types_count_without_a_pool() -> None:
    text = WORKLOAD.replace(
        "      tolerations", "      nodeSelector: {node.kubernetes.io/instance-type: g6.12xlarge}\n      tolerations"
    )
    [found] = _needed(text)
    assert (found["capacityType"], found["cheapestVcpus"], found["needs"][0]["pools"]) == ("on-demand", 144, [])


def test_hybrid_nodes_are_no_instances_and_count_against_no_quota() -> None:
    assert quotas.needs(presets.render("qwen3-32b-l40s-hybrid")) == ([], [])


def test_pods_that_name_nothing_are_said_to_be_left_out() -> None:
    assert described(WORKLOAD)["quotas"]["unsized"] == [
        {"source": "Deployment/engine", "reason": "the release has no pool, and it names no instance types"}
    ]


def test_a_group_counts_all_of_its_pods() -> None:
    template = (
        "{spec: {tolerations: [{operator: Exists}], "
        "containers: [{name: vllm, image: vllm/vllm-openai:v0.33.0, resources: {limits: {nvidia.com/gpu: 8}}}]}}"
    )
    text = f"""
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {{name: engine}}
spec:
  replicas: 2
  leaderWorkerTemplate:
    size: 4
    leaderTemplate: {template}
    workerTemplate: {template}
"""
    [found] = _needed(text + _pool("p5.48xlarge"))
    assert found["cheapestVcpus"] == 2 * 4 * 192
    assert [each["gpus"] for each in found["needs"]] == [2 * 3 * 8, 2 * 8]
    [alone] = _needed(text.replace(f"    leaderTemplate: {template}\n", "") + _pool("p5.48xlarge"))
    assert alone["cheapestVcpus"] == 2 * 4 * 192
