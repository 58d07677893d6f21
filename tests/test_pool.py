from __future__ import annotations

from typing import Any

import pytest

from chartproof.pool import Pool, Taint, gpu_pools_of, pool_of
from chartproof.release import Document, Release
from chartproof.requirements import Requirement


def make_pool(requirements: list[dict[str, Any]], **spec: Any) -> Pool:
    node = {"requirements": requirements, "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass"}}
    body = {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "gpu"},
        "spec": {"template": {"metadata": {"labels": {"team": "llm"}}, "spec": node}, **spec},
    }
    document = Document(body)
    return pool_of(document, Release("test", (document,)))


def need(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


def names(pool: Pool) -> set[str]:
    return {each.name for each in pool.instances}


def test_requirements_select_instance_types_of_the_catalog() -> None:
    pool = make_pool(
        [
            need("karpenter.k8s.aws/instance-family", "In", "g5", "g6"),
            need("karpenter.k8s.aws/instance-size", "In", "xlarge"),
        ]
    )
    assert names(pool) == {"g5.xlarge", "g6.xlarge"}
    assert pool.instances[0].name == "g6.xlarge", "cheapest first"


def test_gpu_memory_is_the_figure_of_ec2_and_bounds_are_strict() -> None:
    pool = make_pool([need("karpenter.k8s.aws/instance-gpu-memory", "Gt", "24000")])
    assert "g5.xlarge" not in names(pool)
    assert "g6e.xlarge" in names(pool)


def test_accelerator_labels_speak_of_neuron_and_match_no_gpu() -> None:
    assert not make_pool([need("karpenter.k8s.aws/instance-accelerator-manufacturer", "In", "nvidia")]).instances


def test_labels_of_auto_mode_match_nothing_on_self_managed_karpenter() -> None:
    requirements = [
        need("karpenter.k8s.aws/instance-family", "In", "g5"),
        need("eks.amazonaws.com/instance-gpu-count", "In", "1"),
    ]
    assert len(names(make_pool(requirements))) > 1, "the label is custom there and decides nothing about types"


def test_labels_of_auto_mode_select_types_in_auto_mode() -> None:
    pool = make_pool([need("eks.amazonaws.com/instance-gpu-name", "In", "l4")])
    pool.document.body["spec"]["template"]["spec"]["nodeClassRef"]["group"] = "eks.amazonaws.com"
    found = names(pool_of(pool.document, Release("test", (pool.document,))))
    assert "g6.xlarge" in found
    assert "g5.xlarge" not in found


def test_nothing_is_claimed_about_other_clouds() -> None:
    pool = make_pool([need("karpenter.azure.com/sku-family", "In", "N")])
    pool.document.body["spec"]["template"]["spec"]["nodeClassRef"]["group"] = "karpenter.azure.com"
    assert not pool_of(pool.document, Release("test", (pool.document,))).instances


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        (need("karpenter.k8s.aws/instance-gpu-count", "Gt", "0"), True),
        (need("karpenter.k8s.aws/instance-gpu-manufacturer", "Exists"), True),
        (need("karpenter.k8s.aws/instance-gpu-manufacturer", "DoesNotExist"), False),
        (need("karpenter.k8s.aws/instance-category", "In", "g", "p"), True),
        (need("karpenter.k8s.aws/instance-category", "In", "c", "g"), False),
        (need("node.kubernetes.io/instance-type", "In", "g5.xlarge", "p4d.24xlarge"), True),
        (need("node.kubernetes.io/instance-type", "In", "g5.xlarge", "m5.large"), False),
        (need("karpenter.k8s.aws/instance-family", "NotIn", "t3"), False),
    ],
)
def test_gpu_only_pools_are_told_from_mixed_ones(requirement: dict[str, Any], expected: bool) -> None:
    assert make_pool([requirement]).gpu_only is expected


def test_a_pool_without_capacity_type_may_buy_spot() -> None:
    pool = make_pool([])
    assert "spot" in pool.capacity_types
    assert not pool.buys_spot, "but it does not say so"


def test_a_general_pool_is_no_gpu_pool() -> None:
    general = make_pool([need("karpenter.k8s.aws/instance-category", "In", "c", "m", "r")])
    assert not gpu_pools_of(Release("test", (general.document,)))


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "value": "true"}, True),
        ({"key": "nvidia.com/gpu", "value": "present"}, False),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "nvidia.com/gpus", "operator": "Exists"}, False),
    ],
)
def test_taints_are_tolerated_as_the_scheduler_decides(toleration: dict[str, str], expected: bool) -> None:
    assert Taint("nvidia.com/gpu", "true", "NoSchedule").tolerated_by(toleration) is expected


def test_requirements_intersect_as_sets() -> None:
    either = Requirement.of("In", ["a", "b"])
    assert either.intersect(Requirement.of("NotIn", ["a"])).only == "b"
    assert either.intersect(Requirement.of("In", ["c"])).empty
    assert Requirement.of("Gt", ["4"]).intersect(Requirement.of("Lt", ["5"])).empty
    assert Requirement.of("Gte", ["4"]).intersect(Requirement.of("Lt", ["5"])).allows("4")
    assert Requirement.of("NotIn", ["a"]).allows(None)
    assert not Requirement.of("Exists").allows(None)
    assert not Requirement.of("DoesNotExist").allows("x")
