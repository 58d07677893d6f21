"""The objects that the cloud gives: nodes for pods, volumes for claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chartproof.catalog import Instance
from chartproof.cluster import placement
from chartproof.cluster.placement import Body, Placement

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
"""Where pools that name no zones get their nodes: the region of the catalog's prices."""

_EBS_GIGABYTES = 200

SYSTEM_NODE: Mapping[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "system-0",
        "annotations": {"kwok.x-k8s.io/node": "fake"},
        "labels": {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
            "kubernetes.io/hostname": "system-0",
            INSTANCE_TYPE: "m7i.2xlarge",
            "eks.amazonaws.com/nodegroup": "system",
            placement.ZONE: ZONES[0],
            "topology.kubernetes.io/region": "us-east-1",
        },
    },
    "status": {
        "capacity": {"cpu": "8", "memory": "32Gi", "pods": "58", "ephemeral-storage": "80Gi"},
        "allocatable": {"cpu": "7910m", "memory": "30Gi", "pods": "58", "ephemeral-storage": "72Gi"},
    },
}
"""The managed node group without GPUs that every such cluster has, for Karpenter, KEDA and Jobs."""


def node_for(chosen: Placement, number: int) -> dict[str, Any]:
    """The node object of a placement; kwok keeps it ready from here on."""
    name = f"{chosen.pool[:50]}-{number}"
    instance = chosen.instance
    disk = disk_of(instance)
    common = {"pods": str(instance.allocatable_pods), "ephemeral-storage": disk, **placement.devices(instance)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {**chosen.labels, "kubernetes.io/hostname": name},
        },
        "spec": {"taints": [dict(each) for each in chosen.taints]},
        "status": {
            "capacity": {
                "cpu": str(instance.vcpu),
                "memory": f"{instance.memory_mebibytes}Mi",
                **common,
            },
            "allocatable": {
                "cpu": f"{instance.allocatable_millicpu}m",
                "memory": f"{instance.allocatable_memory_mebibytes}Mi",
                **common,
            },
            "nodeInfo": {"architecture": instance.architecture, "operatingSystem": "linux"},
        },
    }


def disk_of(instance: Instance) -> str:
    """Size of what holds images and emptyDirs: the local disks, else a volume."""
    return f"{instance.nvme_gigabytes or _EBS_GIGABYTES}G"


def volume_for(claim: Body) -> dict[str, Any]:
    """A volume that exactly this claim can bind, with everything it asks for."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"claim-{metadata['uid']}"},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": spec.get("volumeMode", "Filesystem"),
            "storageClassName": spec.get("storageClassName", ""),
            "persistentVolumeReclaimPolicy": "Retain",
            # Nothing is ever mounted here; the scheduler wants to know that there is something.
            "hostPath": {"path": f"/nonexistent/{metadata['uid']}"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        },
    }
