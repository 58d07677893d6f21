"""Contradictions in `nodes` that the chart refuses, each with its id."""

from __future__ import annotations

import pytest

from chartproof.helm import API_VERSIONS
from tests.chart.conftest import Refusals, Values, merged
from tests.chart.test_nodes import AL2023, CLASS, POOLS, RESERVED, SHARED, SNAPSHOT, SPOT

PLATFORM: Values = {"engine": {"enabled": False}}


def nodes(**values: object) -> Values:
    return {"nodes": values}


def node_class(**values: object) -> Values:
    return {"nodes": {"nodeClass": values}}


@pytest.mark.parametrize(
    ("rule", "key", "values"),
    [
        ("LLM016", "nodes.provider", nodes(provider="existing")),
        ("LLM016", "nodes.labels", nodes(labels={"llm-inference.io/pool": "other"})),
        ("LLM018", "nodes.instanceTypes", merged(PLATFORM, nodes(gpuLimit=4, instanceTypes=["g6x.large"]))),
        ("LLM312", "nodes.instanceTypes", nodes(instanceTypes=["g6e.xlarge", "g6f.4xlarge"])),
        ("LLM311", "nodes.instanceTypes", nodes(instanceTypes=["g6e.xlarge", "g7.2xlarge"])),
        ("LLM345", "nodes.tiers.spot.weight", merged(SPOT, nodes(tiers={"spot": {"weight": 10}}))),
        (
            "LLM331",
            "nodes.nodeClass.dataVolume.snapshotId",
            merged(SNAPSHOT, node_class(instanceStoreRaid0=True)),
        ),
        ("LLM016", "nodes.nodeClass.dataVolume.snapshotId", merged(SNAPSHOT, AL2023)),
        (
            "LLM019",
            "nodes.nodeClass.dataVolume.initializationMebibytesPerSecond",
            node_class(dataVolume={"initializationMebibytesPerSecond": 300}),
        ),
        ("LLM016", "nodes.nodeClass.timeSlicing.replicas", merged(SHARED, AL2023)),
        ("LLM362", "engine.gpuMemoryUtilization", merged(SHARED, {"engine": {"gpuMemoryUtilization": 0.55}})),
        (
            "LLM338",
            "nodes.nodeClass.timeSlicing.replicas",
            merged(
                SHARED,
                {"engine": {"tensorParallelSize": 4, "resources": {"cpu": "32"}}},
                nodes(instanceTypes=["g6e.12xlarge"]),
            ),
        ),
        (
            "LLM362",
            "engine.gpuMemoryUtilization",
            merged(AL2023, {"device-plugin": {"enabled": True, "timeSlicing": {"replicas": 2}}}),
        ),
        ("LLM016", "nodes.spareReplicas", merged(PLATFORM, nodes(gpuLimit=4, spareReplicas=1))),
        (
            "LLM228",
            "nodes.tiers.on-demand.nodes",
            merged(nodes(tiers={"on-demand": {"nodes": 2}}), {"engine": {"replicas": 3}}),
        ),
        (
            "LLM358",
            "nodes.nodeClass.capacityReservations",
            merged(RESERVED, nodes(tiers={"reserved": {"enabled": False}})),
        ),
        ("LLM017", "nodes.nodeClass.capacityReservations", nodes(tiers={"reserved": {"enabled": True}})),
        ("LLM359", "nodes.tiers.reserved.weight", merged(RESERVED, nodes(tiers={"reserved": {"weight": 5}}))),
        (
            "LLM357",
            "nodes.nodeClass.capacityReservations",
            merged(RESERVED, node_class(capacityReservations=[{"id": "cr-0", "tags": {"team": "llm"}}])),
        ),
        (
            "LLM357",
            "nodes.nodeClass.capacityReservations",
            merged(RESERVED, node_class(capacityReservations=[{"ownerId": "123456789012"}])),
        ),
        ("LLM009", "nodes.poolName", nodes(poolName="p" * 60)),
        ("LLM016", "nodes.tiers", nodes(tiers={"on-demand": {"enabled": False}})),
        ("LLM017", "nodes.instanceTypes", merged(PLATFORM, nodes(instanceTypes=[], gpuLimit=4))),
        ("LLM305", "nodes.taints", nodes(taints={"nvidia.com/gpu": None})),
        ("LLM305", "nodes.taints", nodes(taints={"nvidia.com/gpu": {"effect": "PreferNoSchedule"}})),
        ("LLM355", "nodes.labels", nodes(labels={"karpenter.sh/team": "search"})),
        ("LLM355", "nodes.labels", nodes(labels={"karpenter.k8s.aws/instance-family": "g6e"})),
        ("LLM314", "nodes.nodeClassRef.name", node_class(create=False)),
        ("LLM343", "nodes.gpuLimit", PLATFORM),
        (
            "LLM228",
            "nodes.gpuLimit",
            merged(nodes(gpuLimit=2), {"engine": {"replicas": 3, "rollout": {"acceptDowntime": True}}}),
        ),
        ("LLM316", "nodes.expireAfter", nodes(expireAfter="30d")),
        ("LLM316", "nodes.disruption.consolidateAfter", nodes(disruption={"consolidateAfter": "1d"})),
        ("LLM316", "nodes.terminationGracePeriod", nodes(terminationGracePeriod="1d")),
        ("LLM341", "nodes.terminationGracePeriod", nodes(terminationGracePeriod="1m")),
        ("LLM317", "nodes.disruption.nodes", nodes(disruption={"nodes": "0"})),
        (
            "LLM317",
            "nodes.disruption.officeHours.schedule",
            nodes(disruption={"officeHours": {"schedule": "CRON_TZ=Europe/Berlin 0 7 * * 1-5"}}),
        ),
        (
            "LLM317",
            "nodes.disruption.officeHours.schedule",
            nodes(disruption={"officeHours": {"schedule": "a b c d e"}}),
        ),
        ("LLM316", "nodes.disruption.officeHours.duration", nodes(disruption={"officeHours": {"duration": "1d"}})),
        ("LLM008", "nodes.nodeClass.amiVersion", node_class(amiVersion="latest")),
        ("LLM016", "nodes.nodeClass.amiVersion", node_class(amiVersion="v20260724")),
        ("LLM016", "nodes.nodeClass.amiVersion", merged(AL2023, node_class(amiVersion="v1.64.0"))),
        ("LLM325", "nodes.nodeClass.amiVersion", node_class(amiVersion="1.43.0", instanceStoreRaid0=False)),
        ("LLM325", "nodes.nodeClass.amiVersion", node_class(amiVersion="v1.45.0")),
        ("LLM325", "nodes.nodeClass.amiVersion", merged(AL2023, node_class(amiVersion="v20250801"))),
        ("LLM325", "nodes.nodeClass.amiVersion", merged(AL2023, node_class(amiVersion="v20260505"))),
        ("LLM017", "nodes.nodeClass.role", node_class(role="")),
        ("LLM352", "nodes.nodeClassRef.group", nodes(nodeClassRef={"group": "eks.amazonaws.com"})),
        (
            "LLM331",
            "nodes.nodeClass.instanceStoreRaid0",
            merged(PLATFORM, nodes(gpuLimit=4, instanceTypes=["g6e.xlarge", "g5g.16xlarge"])),
        ),
        (
            "LLM324",
            "nodes.nodeClass.soci.concurrentDownloadChunkSize",
            node_class(soci={"concurrentDownloadChunkSize": "16 mb"}),
        ),
        (
            "LLM016",
            "nodes.nodeClass.imageGarbageCollection.lowThresholdPercent",
            node_class(imageGarbageCollection={"lowThresholdPercent": 90}),
        ),
        ("LLM327", "nodes.nodeClass.dataVolume.size", node_class(dataVolume={"size": "10Gi"})),
        (
            "LLM327",
            "nodes.nodeClass.dataVolume.size",
            node_class(instanceStoreRaid0=False, dataVolume={"size": "50Gi"}),
        ),
        ("LLM327", "nodes.nodeClass.rootVolume.size", node_class(rootVolume={"size": "2Gi"})),
        (
            "LLM329",
            "nodes.nodeClass.dataVolume.iops",
            node_class(dataVolume={"iops": 3000, "throughputMebibytesPerSecond": 1000}),
        ),
        ("LLM329", "nodes.nodeClass.dataVolume.iops", node_class(dataVolume={"size": "20Gi", "iops": 16000})),
    ],
)
def test_contradiction_is_refused(refusals: Refusals, rule: str, key: str, values: Values) -> None:
    lines = refusals(POOLS, values)
    assert [line for line in lines if line.startswith(f"[{rule}] {key}: ")], lines
    # No refusal drags in others: each names one fault.
    assert {line[1:7] for line in lines} == {rule}, lines


@pytest.mark.parametrize("key", ["subnetTags", "securityGroupTags"])
def test_a_class_that_selects_nothing_is_refused(refusals: Refusals, key: str) -> None:
    without = {name: value for name, value in POOLS["nodes"]["nodeClass"].items() if name != key}
    lines = refusals({"nodes": {**POOLS["nodes"], "nodeClass": without}})
    assert [line.split(": ")[0] for line in lines] == [f"[LLM017] nodes.nodeClass.{key}"]


@pytest.mark.parametrize(
    "values",
    [
        nodes(expireAfter="Never"),
        RESERVED,
        merged(RESERVED, nodes(tiers={"on-demand": {"enabled": False}})),
        # Static pools are there before anything is bought, and have no weight that could be the same.
        merged(RESERVED, nodes(tiers={"reserved": {"nodes": 1, "weight": 10}})),
        merged(PLATFORM, nodes(tiers={"on-demand": {"nodes": 1}})),
        nodes(spareReplicas=1),
        SNAPSHOT,
        SHARED,
        # Its class is another release's: what that selects is not known here.
        merged(nodes(tiers={"reserved": {"enabled": True}}), nodes(nodeClassRef={"name": "llm-gpu"})),
        nodes(disruption={"consolidateAfter": "1h30m", "nodes": "10%"}),
        nodes(terminationGracePeriod="1h"),
        merged(nodes(instanceTypes=["g7.2xlarge"]), node_class(amiVersion="1.66.0")),
        merged(AL2023, nodes(instanceTypes=["g7.2xlarge"]), node_class(amiVersion="v20261001")),
        merged(AL2023, node_class(amiVersion="v20260512")),
        node_class(dataVolume={"size": "1Ti", "iops": 4000, "throughputMebibytesPerSecond": 1000}),
        node_class(soci={"concurrentDownloadChunkSize": "unlimited"}),
        nodes(provider="existing", create=False, nodeClass={"create": False}, instanceTypes=["g7.2xlarge"]),
        merged(PLATFORM, nodes(gpuLimit=8)),
        merged(PLATFORM, CLASS, nodes(create=False, instanceTypes=[])),
    ],
)
def test_what_is_right_is_taken(refusals: Refusals, values: Values) -> None:
    assert refusals(POOLS, values) == []


def test_a_known_cluster_without_karpenter_is_told_so(refusals: Refusals) -> None:
    lines = refusals(POOLS, api_versions=("v1/Pod",))
    assert {line.split(":")[0] for line in lines} == {"[LLM012] nodes.create", "[LLM012] nodes.nodeClass.create"}
    (line,) = refusals({"nodes": {"spareReplicas": 1}}, api_versions=("v1/Pod",))
    assert line.startswith("[LLM012] nodes.spareReplicas: ")
    assert "CapacityBuffer" in line
    assert refusals(POOLS, api_versions=("v1/Pod", *API_VERSIONS)) == []
