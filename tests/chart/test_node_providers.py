"""Who makes the nodes: EKS Auto Mode, managed node groups, somebody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chartproof.release import Release, dig
from chartproof.schema import check_schemas
from tests.chart.conftest import Refusals, Render, Values, merged
from tests.chart.test_nodes import CLASS, POOLS, RESERVED, pools

AUTO_MODE: Values = merged(POOLS, {"nodes": {"provider": "autoMode"}})


def auto_class(release: Release) -> dict[str, Any]:
    (found,) = release.of_kind("NodeClass")
    assert found.api_version == "eks.amazonaws.com/v1"
    return dict(found.body["spec"])


def test_auto_mode_gets_its_own_node_class_and_pools_that_name_it(render: Render) -> None:
    release = render(AUTO_MODE)
    assert not list(release.of_kind("EC2NodeClass"))
    assert set(auto_class(release)) == {
        "role",
        "subnetSelectorTerms",
        "securityGroupSelectorTerms",
        "ephemeralStorage",
    }
    (pool,) = pools(release).values()
    reference = pool.get("spec", "template", "spec", "nodeClassRef")
    assert reference == {"group": "eks.amazonaws.com", "kind": "NodeClass", "name": "llm-llm-inference"}
    assert pool.get("spec", "template", "spec", "expireAfter") == "336h"


def test_auto_mode_selects_reservations_by_its_own_names(render: Render) -> None:
    assert auto_class(render(AUTO_MODE, RESERVED))["capacityReservationSelectorTerms"] == [
        {"id": "cr-0123456789abcdef0"},
        {"tags": {"team": "llm"}, "owner": "123456789012"},
    ]


def test_auto_mode_holds_the_image_on_its_volume(render: Render) -> None:
    # Its nodes take local disks only where the volume is at least as large as they are.
    storage = auto_class(render(AUTO_MODE))["ephemeralStorage"]
    assert storage["size"] == "100Gi"
    assert storage["throughput"] > 125
    given = {"nodes": {"nodeClass": {"dataVolume": {"size": "500Gi"}}}}
    assert auto_class(render(AUTO_MODE, given))["ephemeralStorage"]["size"] == "500Gi"


def test_auto_mode_pulls_images_as_bottlerocket_does(render: Render) -> None:
    (deployment,) = render(AUTO_MODE).of_kind("Deployment")
    annotations = deployment.get("spec", "template", "metadata", "annotations")
    assert annotations["chartproof.io/node-family"] == "bottlerocket"
    assert "karpenter.sh/do-not-disrupt" in annotations


HYBRID: Values = {
    "nodes": {"provider": "hybrid", "poolName": "gpu", "instanceTypes": ["g6e.xlarge"], "zones": ["berlin", "bonn"]}
}


def test_hybrid_nodes_are_selected_by_the_label_of_eks_and_by_their_site(render: Render) -> None:
    release = render(HYBRID)
    (deployment,) = release.of_kind("Deployment")
    spec = deployment.get("spec", "template", "spec")
    assert spec["nodeSelector"] == {"llm-inference.io/pool": "gpu", "eks.amazonaws.com/compute-type": "hybrid"}
    (term,) = dig(
        spec, *("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    )
    assert {each["key"]: each["values"] for each in term["matchExpressions"]} == {
        "node.kubernetes.io/instance-type": ["g6e.xlarge"],
        "topology.kubernetes.io/zone": ["berlin", "bonn"],
    }
    annotations = deployment.get("spec", "template", "metadata", "annotations")
    # Nothing is known about their image, and Karpenter has no say there.
    assert not {"chartproof.io/node-family", "karpenter.sh/do-not-disrupt"} & set(annotations)


def test_pools_see_to_zones_by_themselves(render: Render) -> None:
    (deployment,) = render(POOLS, {"nodes": {"zones": ["eu-central-1a"]}}).of_kind("Deployment")
    assert "eu-central-1a" not in str(deployment.get("spec", "template", "spec"))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("nodes.provider", merged(CLASS, HYBRID)),
        ("nodes.spareReplicas", merged(HYBRID, {"nodes": {"spareReplicas": 1}})),
        ("nodes.labels", merged(HYBRID, {"nodes": {"labels": {"eks.amazonaws.com/compute-type": "hybrid"}}})),
    ],
)
def test_what_hybrid_nodes_do_not_take_is_refused(refusals: Refusals, key: str, values: Values) -> None:
    (line,) = refusals(values)
    assert line.startswith(f"[LLM016] {key}: ")


@pytest.mark.parametrize("provider", ["managedNodeGroup", "existing"])
def test_nodes_of_others_are_selected_and_tolerated_but_not_made(render: Render, provider: str) -> None:
    release = render({"nodes": {"provider": provider, "poolName": "gpu", "instanceTypes": ["g6e.xlarge"]}})
    assert not [each for each in release.documents if each.kind in {"NodePool", "EC2NodeClass", "NodeClass"}]
    (deployment,) = release.of_kind("Deployment")
    spec = deployment.get("spec", "template", "spec")
    assert spec["nodeSelector"] == {"llm-inference.io/pool": "gpu"}
    assert [each["key"] for each in spec["tolerations"]] == ["nvidia.com/gpu"]
    assert "karpenter.sh/do-not-disrupt" not in deployment.get("spec", "template", "metadata", "annotations")


@pytest.mark.parametrize(
    ("rule", "key", "values"),
    [
        ("LLM352", "nodes.nodeClass.amiVersion", {"nodes": {"nodeClass": {"amiVersion": "v1.64.0"}}}),
        ("LLM352", "nodes.expireAfter", {"nodes": {"expireAfter": "720h"}}),
        ("LLM352", "nodes.expireAfter", {"nodes": {"expireAfter": "Never"}}),
        ("LLM352", "gpu-operator.enabled", {"gpu-operator": {"enabled": True}}),
        ("LLM334", "device-plugin.enabled", {"device-plugin": {"enabled": True}}),
        (
            "LLM352",
            "nodes.nodeClass.dataVolume.throughputMebibytesPerSecond",
            {"nodes": {"nodeClass": {"dataVolume": {"throughputMebibytesPerSecond": 1}}}},
        ),
        ("LLM352", "nodes.nodeClass.dataVolume.iops", {"nodes": {"nodeClass": {"dataVolume": {"iops": 20000}}}}),
        (
            "LLM352",
            "nodes.nodeClass.dataVolume.snapshotId",
            {"nodes": {"nodeClass": {"dataVolume": {"snapshotId": "snap-0123456789abcdef0"}}}},
        ),
        ("LLM352", "nodes.nodeClass.timeSlicing.replicas", {"nodes": {"nodeClass": {"timeSlicing": {"replicas": 2}}}}),
        ("LLM352", "nodes.spareReplicas", {"nodes": {"spareReplicas": 1}}),
        ("LLM352", "nodes.tiers.on-demand.nodes", {"nodes": {"tiers": {"on-demand": {"nodes": 1}}}}),
        ("LLM017", "nodes.nodeClass.role", {"nodes": {"nodeClass": {"role": ""}}}),
    ],
)
def test_what_auto_mode_does_not_offer_is_refused(refusals: Refusals, rule: str, key: str, values: Values) -> None:
    lines = refusals(AUTO_MODE, values)
    assert [line for line in lines if line.startswith(f"[{rule}] {key}: ")], lines


def test_auto_mode_ignores_defaults_that_only_karpenter_has(refusals: Refusals, render: Render) -> None:
    # g5g.16xlarge has no local disks, which only matters where the class asks for RAID0.
    values = merged(AUTO_MODE, CLASS, {"nodes": {"instanceTypes": ["g6e.xlarge"]}})
    assert refusals(values) == []
    assert auto_class(render(values))


@pytest.mark.parametrize(
    ("field", "value"),
    [("userData", "x"), ("amiSelectorTerms", []), ("ephemeralStorage", {"iops": 100}), ("snatPolicy", "None")],
)
def test_the_hand_written_schema_refuses_what_auto_mode_does_not_know(
    render: Render, field: str, value: object
) -> None:
    release = render(AUTO_MODE)
    (document,) = release.of_kind("NodeClass")
    assert not check_schemas([release])[release.name]
    changed = replace(document, body={**document.body, "spec": {**document.body["spec"], field: value}})
    (findings,) = check_schemas([replace(release, documents=(changed,))]).values()
    assert {each.path.split(".")[1] for each in findings} == {field}, findings
