"""Karpenter itself, with the kwok provider in the place of AWS's: real decisions, nodes that exist as objects only.

Its instance types are those of the catalog, with the labels that AWS's provider gives them, so that NodePools written
for AWS choose among them (`node_classes` turns their node classes into kwok's). What kwok's provider leaves out is
played here: machines report what they have, spot machines are taken back, machines are lost or come without a GPU.

What no setting scales in time: Karpenter looks for nodes to disrupt every 10 s, validates a consolidation for 15 s and
drains for at least 5 s of real time. Its metrics and health ports listen on every interface; it has no option for it.
Source: kubernetes-sigs/karpenter v1.14.1, aws/karpenter-provider-aws v1.14.1.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

from chartproof.catalog import Instance, catalog
from chartproof.cluster.api import Api, ApiError
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.objects import INSTANCE_TYPE, ZONES, disk_of
from chartproof.cluster.placement import CAPACITY_TYPE, NODE_POOL, RESERVED, ZONE, Body, devices
from chartproof.cluster.processes import ProcessSpec
from chartproof.cluster.speed import Speed
from chartproof.cluster.state import Place
from chartproof.errors import ClusterError, UsageError
from chartproof.languages.quantity import parse_quantity
from chartproof.release import dig
from chartproof.workload import GPU_RESOURCE

PROGRAM = "karpenter"

SPOT_NOTICE_SECONDS = 120.0
"""Between the notice of a spot interruption and the end of the machine. Source: EC2 User Guide."""

LOST_SECONDS = 50.0
"""After the last heartbeat of a machine its node counts as lost. Source: Kubernetes 1.36, node-monitor-grace-period."""

SPOT_SHARE = 0.7
"""Price of spot as a share of on demand, as in the kwok provider's own list of EC2 types. Real prices vary by the hour;
what matters here is that spot is cheaper."""

_RESERVED_SHARE = 1e-7
"""Price of a reserved machine, which is paid for in any case, as a share of on demand. Source: AWS's provider,
`offering/reserved_capacity_resolver.go`."""
_SHARES = {RESERVED: _RESERVED_SHARE, "spot": SPOT_SHARE, "on-demand": 1.0}

#: Kubelet's reserve that the kwok provider takes off every type, whatever its size (`newInstanceType`).
_RESERVED_MILLICPU, _RESERVED_MEBIBYTES = 100, 10

#: Labels of AWS's provider (and of EKS Auto Mode) that only some types have, or whose values the catalog does not know.
#: A type must deny what it does not have: Karpenter takes a label that no type speaks of for the pool's own.
_OPTIONAL_LABELS = (
    *(
        f"karpenter.k8s.aws/{each}"
        for each in (
            *("instance-local-nvme", "instance-hypervisor"),
            *("instance-gpu-name", "instance-gpu-manufacturer", "instance-gpu-count", "instance-gpu-memory"),
            *("instance-accelerator-name", "instance-accelerator-manufacturer", "instance-accelerator-count"),
            *("instance-cpu-manufacturer", "instance-cpu-sustained-clock-speed-mhz", "instance-capability-flex"),
            *("instance-encryption-in-transit-supported", "instance-tenancy"),
            *("capacity-reservation-id", "capacity-reservation-type", "capacity-reservation-interruptible"),
            *("placement-group-id", "placement-group-partition"),
        )
    ),
    *(
        f"eks.amazonaws.com/{each}"
        for each in (
            *("instance-category", "instance-family", "instance-generation", "instance-size", "instance-cpu"),
            *("instance-memory", "instance-local-nvme", "instance-network-bandwidth", "instance-ebs-bandwidth"),
            *("instance-gpu-name", "instance-gpu-manufacturer", "instance-gpu-count", "instance-gpu-memory"),
        )
    ),
)

_BATCH_SECONDS, _BATCH_IDLE_SECONDS = 10.0, 1.0
_MEMORY_BYTES = 256 * 1024**2
#: On where the chart has a value for it. Without `ReservedCapacity` a reserved machine is an offer like the others: no
#: reservation is ever full (the kwok provider cannot say how much is left).
_GATES = {
    "NodeRepair": False,
    "ReservedCapacity": False,
    "SpotToSpotConsolidation": False,
    "NodeOverlay": False,
    "StaticCapacity": True,
    "CapacityBuffer": True,
}
_POLICY_SECONDS, _POLICY_PAUSE_SECONDS = 15, 0.1
_NODE_CLAIM = ("karpenter.sh/v1", "NodeClaim")


# --- The process ------------------------------------------------------------------------------------------------------


def process(
    place: Place, settings: LiveSettings, *, zones: Sequence[str] = ZONES, log_level: str = "info"
) -> ProcessSpec:
    """Karpenter for the cluster in `place`; writes its list of instance types there.

    `zones` are the region's: a NodePool that asks for others gets no node. The program is expected below `bin/`.
    """
    types = place.directory / "instance-types.json"
    types.write_text(json.dumps(instance_types(catalog().instances.values(), zones)), encoding="utf-8")
    pace = settings.pace
    return ProcessSpec(
        PROGRAM,
        (f"{place.directory}/bin/{PROGRAM}",),
        environment={
            "KUBECONFIG": str(place.kubeconfig),
            "INSTANCE_TYPES_FILE_PATH": str(types),
            "METRICS_PORT": str(settings.karpenter_metrics_port),
            "HEALTH_PROBE_PORT": str(settings.karpenter_health_port),
            "LOG_LEVEL": log_level,
            "DISABLE_LEADER_ELECTION": "true",
            "SYSTEM_NAMESPACE": "kube-system",
            "FEATURE_GATES": ",".join(f"{gate}={str(on).lower()}" for gate, on in _GATES.items()),
            "BATCH_MAX_DURATION": _go_duration(pace.real(_BATCH_SECONDS)),
            "BATCH_IDLE_DURATION": _go_duration(pace.real(_BATCH_IDLE_SECONDS)),
            "MEMORY_LIMIT": str(_MEMORY_BYTES),
        },
        health=f"http://127.0.0.1:{settings.karpenter_health_port}/readyz",
    )


def instance_types(instances: Iterable[Instance], zones: Sequence[str] = ZONES) -> list[dict[str, Any]]:
    """The kwok provider's list: capacity, labels and offers (capacity type, zone, USD per hour) of each type.

    Capacity is what leaves the catalog's allocatable figures after the provider's own reserve. Types without a public
    price are left out: AWS's provider does not offer them either (`offering/base_resolver.go`).
    """
    return [
        {
            "name": each.name,
            "architecture": each.architecture,
            "operatingSystems": ["linux"],
            "resources": {
                "cpu": f"{each.allocatable_millicpu + _RESERVED_MILLICPU}m",
                "memory": f"{each.allocatable_memory_mebibytes + _RESERVED_MEBIBYTES}Mi",
                "pods": str(each.allocatable_pods),
                "ephemeral-storage": disk_of(each),
                **devices(each),
            },
            "offerings": [
                {
                    "Price": each.usd_per_hour * share,
                    "Available": True,
                    "Requirements": [
                        _is(CAPACITY_TYPE, capacity_type),
                        _is(ZONE, zone),
                        _is("topology.kubernetes.io/region", zone.rstrip("abcdefghijklmnopqrstuvwxyz")),
                        *_label_requirements(each),
                    ],
                }
                for capacity_type, share in _SHARES.items()
                for zone in zones
            ],
        }
        for each in instances
        if each.usd_per_hour is not None
    ]


def _label_requirements(instance: Instance) -> list[dict[str, Any]]:
    # The type, architecture and system are requirements of the type itself.
    labels = {key: value for key, value in instance.labels.items() if key.startswith("karpenter.k8s.aws/") and value}
    missing = [each for each in _OPTIONAL_LABELS if each not in labels]
    return [
        *(_is(key, value) for key, value in labels.items()),
        *({"key": key, "operator": "DoesNotExist"} for key in missing),
    ]


def _is(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": [value]}


def _go_duration(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


# --- What machines report ---------------------------------------------------------------------------------------------


def report_capacity(api: Api) -> None:
    """Let every node and claim of Karpenter's report the capacity of its instance type. Raises ApiError.

    The kwok provider writes what the pods of a claim ask for instead (`toNode`), which would let a pool's limits count
    one GPU of a machine with four.
    """
    for node in api.list("v1", "Node", labelSelector=NODE_POOL):
        _report(api, node, f"/api/v1/nodes/{node['metadata']['name']}/status")
    resource = api.resource(*_NODE_CLAIM)
    for claim in api.list(*_NODE_CLAIM):
        if dig(claim, "status", "providerID"):
            _report(api, claim, f"{resource.path(name=claim['metadata']['name'])}/status")


def _report(api: Api, body: Body, path: str) -> None:
    wanted = machine_capacity(dig(body, "metadata", "labels", INSTANCE_TYPE, default=""))
    if GPU_RESOURCE not in dig(body, "status", "allocatable", default={}):
        wanted.pop(GPU_RESOURCE, None)  # the machine did not find it
    have = dig(body, "status", "capacity", default={})
    if any(key not in have or parse_quantity(have[key]) != parse_quantity(value) for key, value in wanted.items()):
        try:
            api.patch(path, {"status": {"capacity": wanted}})
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:  # gone since it was listed
                raise


def machine_capacity(instance_type: str) -> dict[str, str]:
    """What a machine of this type has, before any reserve; empty for a type that the catalog does not know."""
    instance = catalog().instances.get(instance_type)
    if instance is None:
        return {}
    return {
        "cpu": str(instance.vcpu),
        "memory": f"{instance.memory_mebibytes}Mi",
        "pods": str(instance.allocatable_pods),
        "ephemeral-storage": disk_of(instance),
        **devices(instance),
    }


# --- What happens to machines -----------------------------------------------------------------------------------------


def spot_notice(api: Api, node: str, speed: Speed) -> float:
    """EC2 announces the end of a spot machine; returns real seconds until then, when the caller is to `lose` it.

    As AWS's interruption controller does: events on claim and node, then the claim is deleted, upon which Karpenter
    taints the node (`karpenter.sh/disrupted:NoSchedule`) and drains it. Raises UsageError for a node that is not spot.
    """
    body = _node(api, node)
    if dig(body, "metadata", "labels", CAPACITY_TYPE) != "spot":
        raise UsageError(
            "EC2 takes back spot machines only",
            where=f"Node/{node}",
            how=f"choose a node labelled {CAPACITY_TYPE}=spot",
        )
    claim = _find_claim(api, body)
    if claim is None:
        raise UsageError("no NodeClaim of Karpenter's belongs to it", where=f"Node/{node}")
    for each in (claim, body):
        _warn(api, each, "SpotInterrupted", "Spot interruption warning was triggered")
    api.delete(*_NODE_CLAIM, claim["metadata"]["name"])
    return speed.real(SPOT_NOTICE_SECONDS)


def lose(api: Api, node: str) -> None:
    """The machine is gone, and the cluster has noticed: what comes LOST_SECONDS after its last heartbeat.

    AWS's interruption controller deletes the claim, the cloud's node controller the node, and the pods go as those of
    a node that does not exist. Nothing drains: Karpenter gives up its finalizer where the machine does not exist any
    more, which is done here in its place, because kwok would keep the node ready. Raises UsageError for an unknown
    node.
    """
    body = _node(api, node)
    path = f"/api/v1/nodes/{node}"
    # Nothing may be put there in the meantime.
    api.patch(path, {"spec": {"unschedulable": True}})
    if claim := _find_claim(api, body):
        _warn(api, claim, "InstanceTerminating", "Instance is terminating")
        api.delete(*_NODE_CLAIM, claim["metadata"]["name"])
    api.delete("v1", "Node", node)
    try:
        api.patch(path, {"metadata": {"finalizers": None}})
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:  # it had none
            raise
    for pod in api.list("v1", "Pod", fieldSelector=f"spec.nodeName={node}"):
        api.delete("v1", "Pod", pod["metadata"]["name"], pod["metadata"]["namespace"], at_once=True)


def without_gpu(api: Api, node: str) -> None:
    """The node offers no GPU any more, as when its driver or device plugin does not start. Raises UsageError.

    Pods that run there go on. For nodes that do not exist yet, see `withhold_gpus`.
    """
    _node(api, node)
    nothing = {GPU_RESOURCE: None}
    api.patch(f"/api/v1/nodes/{node}/status", {"status": {"capacity": nothing, "allocatable": nothing}})


def withhold_gpus(api: Api, pool: str) -> None:
    """Nodes of this NodePool that are made from now on register without their GPUs, until `return_gpus`.

    Raises ClusterError where the API server does not apply the policy that does it.
    """
    name = _policy_name(pool)
    remove = f'[JSONPatch{{op: "remove", path: "/status/allocatable/" + jsonpatch.escapeKey("{GPU_RESOURCE}")}}]'
    policy = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nodes"]}
            ],
            "objectSelector": {"matchLabels": {NODE_POOL: pool}},
        },
        "matchConditions": [
            {"name": "has-gpu", "expression": f'"{GPU_RESOURCE}" in object.?status.allocatable.orValue({{}})'}
        ],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": remove}}],
    }
    version = "admissionregistration.k8s.io/v1"
    for kind, spec in (("MutatingAdmissionPolicy", policy), ("MutatingAdmissionPolicyBinding", {"policyName": name})):
        api.apply({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
    # The server follows its policies with a delay of up to a second or two.
    deadline = time.monotonic() + _POLICY_SECONDS
    while _has_gpu_on_arrival(api, pool):
        if time.monotonic() > deadline:
            raise ClusterError("the API server does not apply the policy", where=name)
        time.sleep(_POLICY_PAUSE_SECONDS)


def _has_gpu_on_arrival(api: Api, pool: str) -> bool:
    """Whether a node of the pool that was made now would have its GPU; none is made."""
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"generateName": "arrival-", "labels": {NODE_POOL: pool}},
        "status": {"allocatable": {"cpu": "1", GPU_RESOURCE: "1"}},
    }
    made = api.request("POST", "/api/v1/nodes", parameters={"dryRun": "All"}, body=node)
    return GPU_RESOURCE in dig(made, "status", "allocatable", default={})


def return_gpus(api: Api, pool: str) -> None:
    """The next nodes of this NodePool register with their GPUs again."""
    for kind in ("MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"):
        api.delete("admissionregistration.k8s.io/v1", kind, _policy_name(pool))


def _policy_name(pool: str) -> str:
    return f"{pool}.without-gpu.chartproof.io"


def _node(api: Api, name: str) -> dict[str, Any]:
    body = api.find("v1", "Node", name)
    if body is None:
        raise UsageError("there is no such node", where=f"Node/{name}", how="see `kubectl get nodes`")
    return body


def _find_claim(api: Api, node: Body) -> dict[str, Any] | None:
    provider_id = dig(node, "spec", "providerID")
    claims = api.list(*_NODE_CLAIM)
    return next((each for each in claims if provider_id and dig(each, "status", "providerID") == provider_id), None)


def _warn(api: Api, body: Body, reason: str, message: str) -> None:
    metadata = body["metadata"]
    kind, version = ("Node", "v1") if "providerID" in body.get("spec", {}) else (_NODE_CLAIM[1], _NODE_CLAIM[0])
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name'][:200]}.", "namespace": "default"},
            "involvedObject": {"apiVersion": version, "kind": kind, "name": metadata["name"], "uid": metadata["uid"]},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": PROGRAM},
        }
    )
