"""NodePools and the EC2NodeClass."""

from __future__ import annotations

import itertools
import json
import tomllib
from typing import Any

import pytest
import yaml

from chartproof.catalog import catalog
from chartproof.release import Document, Release
from tests.chart.conftest import Render, Values, merged
from tests.presets import STEMS
from tests.presets import render as render_preset

CLASS: Values = {
    "nodes": {
        "nodeClass": {
            "create": True,
            "role": "KarpenterNodeRole-llm",
            "subnetTags": {"karpenter.sh/discovery": "llm"},
            "securityGroupTags": {"karpenter.sh/discovery": "llm"},
        }
    }
}
POOLS: Values = merged(CLASS, {"nodes": {"create": True, "instanceTypes": ["g6e.xlarge", "g6e.2xlarge"]}})
SPOT: Values = {"nodes": {"tiers": {"spot": {"enabled": True}}}}
RESERVED: Values = {
    "nodes": {
        "tiers": {"reserved": {"enabled": True}},
        "nodeClass": {
            "capacityReservations": [
                {"id": "cr-0123456789abcdef0"},
                {"tags": {"team": "llm"}, "ownerId": "123456789012"},
            ]
        },
    }
}
SNAPSHOT: Values = {
    "nodes": {"nodeClass": {"instanceStoreRaid0": False, "dataVolume": {"snapshotId": "snap-0123456789abcdef0"}}}
}
SHARED: Values = {
    "nodes": {"nodeClass": {"timeSlicing": {"replicas": 2}}},
    "engine": {"gpuMemoryUtilization": 0.48, "maxModelLen": 2048},
}
AL2023: Values = {"nodes": {"nodeClass": {"family": "al2023"}}}


def pools(release: Release) -> dict[str, Document]:
    return {each.name: each for each in release.of_kind("NodePool")}


def node_class(release: Release) -> Document:
    (found,) = release.of_kind("EC2NodeClass")
    return found


def requirements(pool: Document) -> dict[str, list[str]]:
    found = pool.get("spec", "template", "spec", "requirements")
    assert {each["operator"] for each in found} == {"In"}
    return {each["key"]: each["values"] for each in found}


def volumes(document: Document) -> dict[str, dict[str, Any]]:
    return {each["deviceName"]: each["ebs"] for each in document.get("spec", "blockDeviceMappings")}


def test_each_enabled_tier_is_a_pool_and_the_spot_one_is_tried_first(render: Render) -> None:
    assert set(pools(render(POOLS))) == {"llm-llm-inference-on-demand"}
    found = pools(render(POOLS, SPOT))
    spot, on_demand = found["llm-llm-inference-spot"], found["llm-llm-inference-on-demand"]
    assert spot.get("spec", "weight") > on_demand.get("spec", "weight")
    assert requirements(spot)["karpenter.sh/capacity-type"] == ["spot"]
    assert requirements(on_demand)["karpenter.sh/capacity-type"] == ["on-demand"]


def test_reserved_capacity_is_selected_by_the_class_and_tried_before_anything_is_bought(render: Render) -> None:
    release = render(POOLS, SPOT, RESERVED)
    assert node_class(release).get("spec", "capacityReservationSelectorTerms") == [
        {"id": "cr-0123456789abcdef0"},
        {"tags": {"team": "llm"}, "ownerID": "123456789012"},
    ]
    found = pools(release)
    reserved = found.pop("llm-llm-inference-reserved")
    assert requirements(reserved)["karpenter.sh/capacity-type"] == ["reserved"]
    assert reserved.get("spec", "weight") > max(each.get("spec", "weight") for each in found.values())
    assert "capacityReservationSelectorTerms" not in node_class(render(POOLS)).body["spec"]


def test_a_fixed_count_of_nodes_is_a_static_pool_with_room_to_replace_one(render: Render) -> None:
    found = pools(render(POOLS, SPOT, RESERVED, {"nodes": {"tiers": {"reserved": {"nodes": 2}}}}))
    static = found.pop("llm-llm-inference-reserved")
    assert static.get("spec", "replicas") == 2
    assert "weight" not in static.body["spec"], "the API server refuses it"
    assert static.get("spec", "limits") == {"nodes": 3}
    assert all("replicas" not in each.body["spec"] and each.get("spec", "weight") for each in found.values())


def test_spare_replicas_are_a_buffer_in_the_shape_of_the_engine(render: Render) -> None:
    assert not list(render(POOLS).of_kind("CapacityBuffer"))
    release = render(POOLS, {"nodes": {"spareReplicas": 2}})
    (buffer,) = release.of_kind("CapacityBuffer")
    (deployment,) = release.of_kind("Deployment")
    assert buffer.get("spec", "replicas") == 2
    assert buffer.get("spec", "scalableRef") == {"apiGroup": "apps", "kind": "Deployment", "name": deployment.name}
    # At the most replicas nothing more comes: the limit need not hold the spare ones too.
    assert limit(release) == limit(render(POOLS))


def limit(release: Release) -> int:
    (pool,) = pools(release).values()
    return int(pool.get("spec", "limits", "nvidia.com/gpu"))


def test_pools_are_limited_to_the_named_instances_their_architecture_and_zones(render: Render) -> None:
    (pool,) = pools(render(POOLS, {"nodes": {"zones": ["eu-central-1a", "eu-central-1b"]}})).values()
    found = requirements(pool)
    assert found["node.kubernetes.io/instance-type"] == ["g6e.xlarge", "g6e.2xlarge"]
    assert found["kubernetes.io/arch"] == ["amd64"]
    assert found["topology.kubernetes.io/zone"] == ["eu-central-1a", "eu-central-1b"]


def test_pods_tolerate_the_taints_and_select_the_labels_of_their_pools(render: Render) -> None:
    shared = {"nodes": {"labels": {"team": "search"}, "taints": {"dedicated": {"value": "llm", "effect": "NoExecute"}}}}
    release = render(POOLS, shared)
    (pool,) = pools(release).values()
    (deployment,) = release.of_kind("Deployment")
    assert deployment.pod_template is not None
    pod = deployment.pod_template.spec
    taints = pool.get("spec", "template", "spec", "taints")
    assert {each["key"] for each in taints} == {"nvidia.com/gpu", "dedicated"}
    tolerated = {(each["key"], each.get("value"), each["effect"]) for each in pod["tolerations"]}
    assert {(each["key"], each["value"], each["effect"]) for each in taints} <= tolerated
    labels = pool.get("spec", "template", "metadata", "labels")
    assert labels["team"] == "search"
    assert pod["nodeSelector"].items() <= labels.items()
    assert labels["llm-inference.io/pool"] == pod["nodeSelector"]["llm-inference.io/pool"]


def test_pool_limit_holds_the_most_replicas_and_the_rolling_update_in_whole_instances(render: Render) -> None:
    scaled = {
        "autoscaling": {"enabled": True, "maxReplicas": 8},
        "observability": {"monitoring": "podMonitor"},
        "engine": {"tensorParallelSize": 4, "resources": {"cpu": "32"}},
        "nodes": {"instanceTypes": ["g6e.12xlarge"]},
        "model": {"id": "Qwen/Qwen3-32B"},
    }
    (pool,) = pools(render(POOLS, scaled)).values()
    assert pool.get("spec", "limits", "nvidia.com/gpu") == (8 + 1) * 4
    one_gpu = {"engine": {"replicas": 2}, "nodes": {"instanceTypes": ["g6.12xlarge"]}}
    (pool,) = pools(render(POOLS, one_gpu)).values()
    assert pool.get("spec", "limits", "nvidia.com/gpu") == 4


def test_nodes_outlive_the_drain_of_their_pods(render: Render) -> None:
    release = render(POOLS, {"engine": {"drainSeconds": 600}})
    (pool,) = pools(release).values()
    (deployment,) = release.of_kind("Deployment")
    assert deployment.pod_template is not None
    period = pool.get("spec", "template", "spec", "terminationGracePeriod")
    assert int(period.removesuffix("s")) >= deployment.pod_template.spec["terminationGracePeriodSeconds"] + 60


def test_budgets_cover_every_hour_and_office_hours_only_let_empty_nodes_go(render: Render) -> None:
    (pool,) = pools(render(POOLS)).values()
    disruption = pool.get("spec", "disruption")
    always, office = disruption["budgets"]
    assert always == {"nodes": "1"}
    assert office["nodes"] == "0"
    assert set(office["reasons"]) == {"Drifted", "Underutilized"}
    assert (disruption["consolidationPolicy"], disruption["consolidateAfter"]) == ("WhenEmpty", "10m")
    (pool,) = pools(render(POOLS, {"nodes": {"disruption": {"officeHours": {"enabled": False}}}})).values()
    assert pool.get("spec", "disruption", "budgets") == [{"nodes": "1"}]


def test_pools_use_the_class_of_their_release_or_the_one_that_is_named(render: Render) -> None:
    release = render(POOLS)
    (pool,) = pools(release).values()
    reference = pool.get("spec", "template", "spec", "nodeClassRef")
    assert reference == {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": node_class(release).name}
    named = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"}
    (pool,) = pools(render(POOLS, {"nodes": {"nodeClassRef": named}})).values()
    assert pool.get("spec", "template", "spec", "nodeClassRef") == named


def test_provider_existing_makes_no_nodes_and_still_places_the_pods(render: Render) -> None:
    release = render({"nodes": {"provider": "existing", "instanceTypes": ["g6e.xlarge"]}})
    assert list(release.of_kind("NodePool", "EC2NodeClass")) == []
    (deployment,) = release.of_kind("Deployment")
    assert deployment.pod_template is not None
    assert deployment.pod_template.spec["tolerations"]


def test_bottlerocket_shares_gpus_under_their_own_name_and_only_where_asked(render: Render) -> None:
    plain = tomllib.loads(node_class(render(POOLS)).get("spec", "userData"))["settings"]
    assert "kubelet-device-plugins" not in plain, "nodes without GPU do not boot with it"
    found = tomllib.loads(node_class(render(POOLS, SHARED)).get("spec", "userData"))["settings"]
    assert found.pop("kubelet-device-plugins") == {
        "nvidia": {
            "device-sharing-strategy": "time-slicing",
            "time-slicing": {"replicas": 2, "rename-by-default": False, "fail-requests-greater-than-one": True},
        }
    }
    assert found == plain


def test_a_preloaded_data_volume_is_made_of_the_snapshot_and_filled_at_once(render: Render) -> None:
    found = volumes(node_class(render(POOLS, SNAPSHOT)))
    assert found["/dev/xvdb"]["snapshotID"] == "snap-0123456789abcdef0"
    assert found["/dev/xvdb"]["volumeInitializationRate"] == 300
    # It holds what a node without local disks needs, at the speed that its instance reads.
    assert found["/dev/xvdb"]["volumeSize"] == "100Gi"
    assert found["/dev/xvdb"]["throughput"] > 125
    assert "snapshotID" not in found["/dev/xvda"]
    slower = {"nodes": {"nodeClass": {"dataVolume": {"initializationMebibytesPerSecond": 100}}}}
    assert volumes(node_class(render(POOLS, SNAPSHOT, slower)))["/dev/xvdb"]["volumeInitializationRate"] == 100


def test_bottlerocket_pulls_and_unpacks_in_parallel(render: Render) -> None:
    settings = tomllib.loads(node_class(render(POOLS)).get("spec", "userData"))
    assert set(settings) == {"settings"}, "Karpenter drops tables outside of settings"
    settings = settings["settings"]
    assert settings["container-runtime"] == {"snapshotter": "soci"}
    soci = settings["container-runtime-plugins"]["soci-snapshotter"]
    assert soci["pull-mode"] == "parallel-pull-unpack"
    assert soci["parallel-pull-unpack"] == {
        "max-concurrent-downloads": -1,
        "max-concurrent-downloads-per-image": 20,
        "concurrent-download-chunk-size": "16mb",
        "max-concurrent-unpacks": -1,
        "max-concurrent-unpacks-per-image": 12,
        "discard-unpacked-layers": True,
    }
    # Strings: Karpenter decodes these into strings and launches nothing where they are numbers.
    assert settings["kubernetes"] == {
        "image-gc-high-threshold-percent": "85",
        "image-gc-low-threshold-percent": "75",
    }


def test_al2023_pulls_images_fast(render: Render) -> None:
    document = node_class(render(POOLS, AL2023))
    config = yaml.safe_load(document.get("spec", "userData"))
    assert (config["apiVersion"], config["kind"]) == ("node.eks.aws/v1alpha1", "NodeConfig")
    assert config["spec"]["featureGates"] == {"FastImagePull": True}
    assert config["spec"]["kubelet"]["config"]["imageGCHighThresholdPercent"] == 85


@pytest.mark.parametrize(("layer", "family"), [({}, "bottlerocket"), (AL2023, "al2023")])
def test_images_are_pinned(render: Render, layer: Values, family: str) -> None:
    (term,) = node_class(render(POOLS, layer)).get("spec", "amiSelectorTerms")
    alias, version = term["alias"].split("@")
    assert alias == family
    assert version.startswith("v")
    assert version != "latest"
    assert len(term["alias"]) <= 30, "Karpenter's bound"


def test_bottlerocket_has_both_of_its_disks_and_al2023_one(render: Render) -> None:
    assert set(volumes(node_class(render(POOLS)))) == {"/dev/xvda", "/dev/xvdb"}
    assert set(volumes(node_class(render(POOLS, AL2023)))) == {"/dev/xvda"}
    for document in (node_class(render(POOLS)), node_class(render(POOLS, AL2023))):
        assert all(each["encrypted"] and each["volumeType"] == "gp3" for each in volumes(document).values())


def test_local_disks_take_images_and_weights_so_the_volume_stays_small(render: Render) -> None:
    document = node_class(render(POOLS))
    assert document.get("spec", "instanceStorePolicy") == "RAID0"
    data = volumes(document)["/dev/xvdb"]
    assert (data["volumeSize"], data["iops"], data["throughput"]) == ("50Gi", 3000, 125)


@pytest.mark.parametrize("types", [["g6.48xlarge"], ["g6e.xlarge"], ["g5.48xlarge", "g6e.xlarge"], ["p5.48xlarge"]])
def test_without_local_disks_the_volume_holds_image_and_weights_and_no_instance_outruns_it(
    render: Render, types: list[str]
) -> None:
    values = {"nodes": {"instanceTypes": types, "nodeClass": {"instanceStoreRaid0": False}}}
    document = node_class(render(POOLS, values))
    assert document.get("spec", "instanceStorePolicy") is None
    data = volumes(document)["/dev/xvdb"]
    slowest = min(catalog().instances[each].ebs_mbps for each in types) * 125_000 / 2**20
    assert min(slowest - 1, 1000) <= data["throughput"] <= min(slowest, 1000)
    assert data["throughput"] <= 0.25 * data["iops"]
    gibibytes = int(data["volumeSize"].removesuffix("Gi"))
    assert data["iops"] <= 500 * gibibytes
    assert gibibytes >= 20 + 21 + 15, "system, unpacked image, weights of Qwen2.5-7B"


def test_pods_on_the_node_cannot_take_its_role(render: Render) -> None:
    options = node_class(render(POOLS)).get("spec", "metadataOptions")
    assert (options["httpTokens"], options["httpPutResponseHopLimit"]) == ("required", 1)


@pytest.mark.parametrize("stem", STEMS)
def test_nodes_of_every_preset_refer_to_a_class_of_some_preset(stem: str) -> None:
    classes = {each.name for other in STEMS for each in render_preset(other).of_kind("EC2NodeClass")}
    for pool in render_preset(stem).of_kind("NodePool"):
        assert pool.get("spec", "template", "spec", "nodeClassRef", "name") in classes


def test_pool_names_of_presets_do_not_collide() -> None:
    # Platforms are alternatives: a cluster has one of them.
    models = [name for stem in STEMS if not stem.startswith("platform-") for name in pools(render_preset(stem))]
    platforms = {name for stem in STEMS if stem.startswith("platform-") for name in pools(render_preset(stem))}
    assert len(models) == len(set(models))
    assert not platforms & set(models)


def test_every_family_of_the_schema_has_facts(render: Render) -> None:
    for family, raid0 in itertools.product(("bottlerocket", "al2023"), (True, False)):
        values = {"nodes": {"nodeClass": {"family": family, "instanceStoreRaid0": raid0}}}
        assert json.dumps(node_class(render(POOLS, values)).body)
