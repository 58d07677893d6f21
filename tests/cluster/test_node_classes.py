"""NodePools of AWS's provider, played by kwok's."""

from __future__ import annotations

from typing import Any

import pytest

from chartproof.cluster.node_classes import played, registration_seconds
from chartproof.release import Document, Release, dig
from chartproof.schema import check_schemas
from tests import presets


def _class(alias: str) -> dict[str, Any]:
    return {
        "apiVersion": "karpenter.k8s.aws/v1",
        "kind": "EC2NodeClass",
        "metadata": {"name": "gpu", "labels": {"a": "b"}},
        "spec": {"amiSelectorTerms": [{"alias": alias}]},
    }


def _pool(group: str, kind: str, *requirements: dict[str, Any]) -> dict[str, Any]:
    reference = {"group": group, "kind": kind, "name": "gpu"}
    spec: dict[str, Any] = {"nodeClassRef": reference, **({"requirements": [*requirements]} if requirements else {})}
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "x"},
        "spec": {"template": {"spec": spec}},
    }


def _capacity(operator: str, *values: str) -> dict[str, Any]:
    return {"key": "karpenter.sh/capacity-type", "operator": operator, "values": [*values]}


NOTHING_RESERVED = _capacity("NotIn", "reserved")


@pytest.mark.parametrize(
    # 13 s for the claim, 40 s to boot, and 5 s (Bottlerocket) or 36 s (AL2023) until the GPU is registered.
    ("alias", "factor", "delay"),
    [("bottlerocket@v1.64.0", 1, "58s"), ("bottlerocket@v1.64.0", 15, "4s"), ("al2023@v20260724", 15, "6s")],
)
def test_nodes_register_after_what_a_machine_of_that_system_takes(alias: str, factor: float, delay: str) -> None:
    (ec2, kwok), _ = played([_class(alias)], factor)
    assert ec2 == _class(alias)
    assert kwok == {
        "apiVersion": "karpenter.kwok.sh/v1alpha1",
        "kind": "KWOKNodeClass",
        "metadata": {"name": "gpu", "labels": {"a": "b"}},
        "spec": {"nodeRegistrationDelay": delay},
    }


def test_an_unknown_system_registers_as_slowly_as_the_slowest() -> None:
    assert registration_seconds("custom") == registration_seconds("al2023")


def test_pools_refer_to_it_also_where_the_class_is_of_another_release() -> None:
    (pool,), changes = played([_pool("karpenter.k8s.aws", "EC2NodeClass")], 15)
    assert pool == _pool("karpenter.kwok.sh", "KWOKNodeClass", NOTHING_RESERVED)
    assert [str(each) for each in changes] == [
        "NodePool/x spec.template.spec.nodeClassRef: EC2NodeClass.karpenter.k8s.aws -> KWOKNodeClass.karpenter.kwok.sh"
    ]


def test_nodes_of_auto_mode_run_bottlerocket() -> None:
    auto = {"apiVersion": "eks.amazonaws.com/v1", "kind": "NodeClass", "metadata": {"name": "gpu"}, "spec": {}}
    (_, kwok, pool), _ = played([auto, _pool("eks.amazonaws.com", "NodeClass")], 1)
    assert (kwok["kind"], kwok["spec"]) == ("KWOKNodeClass", {"nodeRegistrationDelay": "58s"})
    assert pool == _pool("karpenter.kwok.sh", "KWOKNodeClass", NOTHING_RESERVED)


def test_only_pools_whose_class_selects_reservations_get_reserved_machines() -> None:
    both, bought = _capacity("In", "reserved", "on-demand"), _capacity("In", "spot", "on-demand")
    selecting = _class("bottlerocket@v1.64.0")
    selecting["spec"]["capacityReservationSelectorTerms"] = [{"id": "cr-0123456789abcdef0"}]
    for node_class, requirement, expected in (
        (selecting, both, [both]),
        (_class("bottlerocket@v1.64.0"), both, [both, NOTHING_RESERVED]),
        (_class("bottlerocket@v1.64.0"), bought, [bought]),
    ):
        (*_, pool), _ = played([node_class, _pool("karpenter.k8s.aws", "EC2NodeClass", requirement)], 15)
        assert pool == _pool("karpenter.kwok.sh", "KWOKNodeClass", *expected)


def test_other_classes_are_left_alone() -> None:
    documents = [_pool("karpenter.azure.com", "AKSNodeClass"), _pool("karpenter.kwok.sh", "KWOKNodeClass")]
    assert played(documents, 15) == (documents, [])


@pytest.mark.slow
@pytest.mark.parametrize("stem", presets.STEMS)
def test_played_presets_keep_to_the_schemas(stem: str) -> None:
    bodies, _ = played([each.body for each in presets.render(stem).documents], 15)
    pools = [each for each in bodies if each["kind"] == "NodePool"]
    assert {dig(each, "spec", "template", "spec", "nodeClassRef", "kind") for each in pools} <= {"KWOKNodeClass"}
    release = Release(stem, tuple(Document(body, stem, index) for index, body in enumerate(bodies)), origin=stem)
    assert check_schemas([release]) == {stem: []}
