from __future__ import annotations

from typing import Any

import pytest

from tests.aws.releases import described

CLASS = """
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: {name: gpu}
spec:
  role: KarpenterNodeRole-prod
  subnetSelectorTerms: [{tags: {karpenter.sh/discovery: prod}}, {id: subnet-1}]
  securityGroupSelectorTerms: [{tags: {karpenter.sh/discovery: prod, tier: gpu}}]
  capacityReservationSelectorTerms: [{id: cr-1}]
  blockDeviceMappings: [{deviceName: /dev/xvdb, ebs: {snapshotID: snap-1, kmsKeyID: alias/llm}}]
"""
AUTO = """
---
apiVersion: eks.amazonaws.com/v1
kind: NodeClass
metadata: {name: gpu}
spec: {role: AutoNodeRole, subnetSelectorTerms: [{tags: {a: b}}]}
"""


def _pool(capacity: str, *, auto: bool = False) -> str:
    group, kind = ("eks.amazonaws.com", "NodeClass") if auto else ("karpenter.k8s.aws", "EC2NodeClass")
    values = f"- {{key: karpenter.sh/capacity-type, operator: In, values: [{capacity}]}}" if capacity else "[]"
    return f"""
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {{name: gpu}}
spec:
  template:
    spec:
      nodeClassRef: {{group: {group}, kind: {kind}, name: gpu}}
      requirements:
        {values}
"""


def _nodes(text: str) -> Any:
    return described(text)["nodes"]


def test_node_class_of_karpenter_names_role_and_tags() -> None:
    [found] = _nodes(CLASS)["classes"]
    assert (found["role"], found["accessEntryType"]) == ("KarpenterNodeRole-prod", "EC2_LINUX")
    assert [(each["what"], each["tags"], each["others"]) for each in found["selections"]] == [
        ("subnets", [{"karpenter.sh/discovery": "prod"}], ["id=subnet-1"]),
        ("security groups", [{"karpenter.sh/discovery": "prod", "tier": "gpu"}], []),
        ("capacity reservations", [], ["id=cr-1"]),
    ]
    assert (found["snapshots"], found["kmsKeys"]) == (["snap-1"], ["alias/llm"])
    assert any(each.endswith("role/KarpenterNodeRole-prod --type EC2_LINUX") for each in found["commands"])
    assert found["commands"][-2:] == [
        (
            "aws ec2 create-tags --region eu-central-1 --resources <SUBNET_IDS> --tags"
            " Key=karpenter.sh/discovery,Value=prod"
        ),
        (
            "aws ec2 create-tags --region eu-central-1 --resources <SECURITY_GROUP_IDS> --tags"
            " Key=karpenter.sh/discovery,Value=prod Key=tier,Value=gpu"
        ),
    ]
    assert found["files"]["node-role.KarpenterNodeRole-prod.karpenter-pass-role.json"] == "karpenterPassRole"
    assert found["karpenterPassRole"]["Statement"][0]["Resource"] == [
        "arn:aws:iam::123456789012:role/KarpenterNodeRole-prod"
    ]


def test_node_class_of_auto_mode_has_its_own_type_and_policy() -> None:
    [found] = _nodes(AUTO)["classes"]
    assert (found["autoMode"], found["accessEntryType"]) == (True, "EC2")
    assert found["commands"][-3].endswith("--type EC2")
    assert "cluster-access-policy/AmazonEKSAutoNodePolicy" in found["commands"][-2]
    assert found["commands"][-1].endswith("--tags Key=a,Value=b")
    assert list(found["files"]) == ["node-role.AutoNodeRole.trust.json"]


def test_instance_profile_has_a_role_of_its_own() -> None:
    [found] = _nodes(CLASS.replace("role: KarpenterNodeRole-prod", "instanceProfile: gpu"))["classes"]
    assert (found["role"], found["instanceProfile"], found["files"]) == (None, "gpu", {})
    assert not any("iam" in each for each in found["commands"])


def test_a_tag_of_any_value_is_left_to_whoever_tags() -> None:
    [found] = _nodes(AUTO.replace("{a: b}", "{a: '*'}"))["classes"]
    assert found["selections"][0]["tags"] == [{"a": "*"}]
    assert not any("create-tags" in each for each in found["commands"])


def test_node_class_with_an_arn_or_without_a_role_is_warned_of() -> None:
    arn = CLASS.replace("KarpenterNodeRole-prod", "'arn:aws:iam::123456789012:role/x'")
    assert described(arn)["warnings"] == ["EC2NodeClass gpu: spec.role is a role's name, not its ARN"]
    [none] = described(CLASS.replace("  role: KarpenterNodeRole-prod\n", ""))["warnings"]
    assert "names neither role nor instance profile" in none


def test_node_class_that_the_release_lacks_is_named_with_its_pools() -> None:
    assert _nodes(_pool("on-demand"))["absentClasses"] == [{"kind": "EC2NodeClass", "name": "gpu", "pools": ["gpu"]}]
    assert _nodes(_pool("on-demand") + CLASS)["absentClasses"] == []


def test_nodes_that_the_release_does_not_make_are_named_by_their_labels() -> None:
    pod = """
apiVersion: v1
kind: Pod
metadata: {name: engine}
spec:
  nodeSelector: {pool: gpu}
  containers: [{name: main, image: quay.io/a/b, command: [run], resources: {limits: {nvidia.com/gpu: 1}}}]
"""
    assert _nodes(pod)["fromElsewhere"] == [{"workload": "Pod/engine", "labels": {"pool": "gpu"}}]
    pool = _pool("on-demand").replace("    spec:\n", "    metadata: {labels: {pool: gpu}}\n    spec:\n") + CLASS
    pool = pool.replace(
        "requirements:",
        "requirements:\n        - {key: node.kubernetes.io/instance-type, operator: In, values: [g6.xlarge]}",
    )
    assert _nodes(pod + pool)["fromElsewhere"] == []


@pytest.mark.parametrize(
    ("capacity", "auto", "spot", "queue"),
    [
        ("on-demand", False, False, False),
        ("spot", False, True, True),
        ("spot, on-demand", False, True, True),
        ("", False, True, True),
        ("reserved", False, False, True),
        ("spot", True, True, False),
    ],
)
def test_interruptions_matter_where_spot_or_reservations_are_bought(
    capacity: str, auto: bool, spot: bool, queue: bool
) -> None:
    found = _nodes(_pool(capacity, auto=auto))
    assert (found["spotServiceLinkedRole"] is not None) == spot
    assert (found["interruptionQueue"] is not None) == queue
    assert found["interruptionByAutoMode"] == (auto and spot)


def test_the_queue_hears_every_event_that_karpenter_understands() -> None:
    queue = _nodes(_pool("spot"))["interruptionQueue"]
    assert queue["arn"] == "arn:aws:sqs:eu-central-1:123456789012:prod"
    assert {each["detail-type"][0] for each in queue["rules"].values()} == {
        "AWS Health Event",
        "EC2 Spot Instance Interruption Warning",
        "EC2 Instance Rebalance Recommendation",
        "EC2 Instance State-change Notification",
        "EC2 Capacity Reservation Instance Interruption Warning",
    }
    assert queue["policy"]["Statement"][0]["Resource"] == queue["arn"]


CLAIM = """
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: weights}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: %s
  resources: {requests: {storage: 30Gi}}
"""
STORAGE_CLASS = """
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: shared}
provisioner: %s
"""


@pytest.mark.parametrize(
    ("name", "driver", "addon"),
    [
        ("efs-sc", "efs.csi.aws.com", "aws-efs-csi-driver"),
        ("fsx-lustre", "fsx.csi.aws.com", "aws-fsx-csi-driver"),
        ("gp3", "ebs.csi.aws.com", "aws-ebs-csi-driver"),
    ],
)
def test_usual_names_of_classes_tell_their_driver(name: str, driver: str, addon: str) -> None:
    [found] = described(CLAIM % name)["storage"]
    assert (found["driver"], found["driverToldByClassName"], found["size"]) == (driver, True, "30Gi")
    assert found["commands"] == [f"aws eks create-addon --region eu-central-1 --cluster-name prod --addon-name {addon}"]
    assert found["storageClassManifest"]["provisioner"] == driver
    assert found["files"] == {f"storage-class.{name}.json": "storageClassManifest"}


def test_class_of_the_release_is_believed_and_not_made_again() -> None:
    [found] = described(CLAIM % "shared" + STORAGE_CLASS % "fsx.csi.aws.com")["storage"]
    assert (found["driver"], found["classBroughtByRelease"], found["files"]) == ("fsx.csi.aws.com", True, {})


def test_volume_of_the_release_tells_its_driver() -> None:
    volume = """
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: bucket}
spec: {csi: {driver: s3.csi.aws.com}}
"""
    [found] = described((CLAIM % '""').replace("accessModes", "volumeName: bucket\n  accessModes") + volume)["storage"]
    assert (found["title"], found["storageClass"]) == ("Mountpoint for Amazon S3", None)


def test_claim_that_nothing_explains_is_warned_of() -> None:
    found = described(CLAIM % "fast")
    assert found["storage"][0]["driver"] is None
    [warning] = found["warnings"]
    assert "StorageClass fast" in warning
    assert "not every driver can be mounted by several nodes" in warning


def test_claims_of_stateful_sets_and_ephemeral_volumes_count() -> None:
    text = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: engine}
spec:
  volumeClaimTemplates: [{metadata: {name: cache}, spec: {storageClassName: gp3}}]
  template:
    spec:
      containers: []
      volumes: [{name: scratch, ephemeral: {volumeClaimTemplate: {spec: {storageClassName: efs}}}}]
"""
    assert [(each["claim"], each["title"]) for each in described(text)["storage"]] == [
        ("StatefulSet/engine claim cache", "Amazon EBS"),
        ("StatefulSet/engine volume scratch", "Amazon EFS"),
    ]


def test_shared_file_systems_need_the_endpoint_of_their_service() -> None:
    [endpoint] = described(CLAIM % "efs-sc")["endpoints"]
    assert endpoint["service"] == "com.amazonaws.eu-central-1.elasticfilesystem"


def test_adapters_need_their_plugin_and_an_open_group_of_nodes() -> None:
    text = """
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: chat}
spec:
  leaderWorkerTemplate:
    size: 2
    leaderTemplate: &pod
      spec:
        containers:
          - name: engine
            image: vllm/vllm-openai:v0.33.0
            resources: {limits: {nvidia.com/gpu: 8, vpc.amazonaws.com/efa: 32}}
    workerTemplate: *pod
"""
    [warning] = described(text)["warnings"]
    assert warning.startswith("LeaderWorkerSet/chat asks for 32 vpc.amazonaws.com/efa: its nodes need")
    assert described(text.replace(", vpc.amazonaws.com/efa: 32", ""))["warnings"] == []
