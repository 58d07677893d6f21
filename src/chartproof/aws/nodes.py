"""What Karpenter and EKS Auto Mode need in the account for the node classes and pools of a release."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.aws import policies
from chartproof.aws.facts import NodeRole, interruption_events, node_role
from chartproof.aws.target import Target, file_name, word
from chartproof.pool import NodeClass, Pool, node_classes_of, pools_of
from chartproof.release import Release, dig
from chartproof.scheduling import EFA_RESOURCE, gpu_pods, pod_requirements
from chartproof.scheduling import describe as words


@dataclass(frozen=True)
class Selection:
    """Subnets, security groups or reservations that a node class looks for: by tags, or by ids and names."""

    what: str
    tags: tuple[Mapping[str, str], ...]
    others: tuple[str, ...]


@dataclass(frozen=True)
class Class:
    """A node class of the release; `role` and `instance_profile` are as written, one of them empty."""

    name: str
    kind: str
    auto_mode: bool
    role: str
    instance_profile: str
    needs: NodeRole
    selections: tuple[Selection, ...]
    snapshots: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Market:
    """Which pools buy spot or reserved capacity, and whether self-managed Karpenter must hear of interruptions."""

    spot_pools: tuple[str, ...]
    reserved_pools: tuple[str, ...]
    needs_queue: bool
    auto_mode_spot: bool


Json = dict[str, Any]
_SELECTORS = (
    ("subnets", "subnetSelectorTerms"),
    ("security groups", "securityGroupSelectorTerms"),
    ("capacity reservations", "capacityReservationSelectorTerms"),
)


def classes(release: Release) -> list[Class]:
    """The node classes that the release brings."""
    return [_class(each) for each in node_classes_of(release)]


def _class(found: NodeClass) -> Class:
    document = found.document
    mappings = [dig(each, "ebs", default={}) for each in document.get("spec", "blockDeviceMappings", default=[]) or []]
    keys = [dig(each, "kmsKeyID") for each in mappings] + [document.get("spec", "ephemeralStorage", "kmsKeyID")]
    return Class(
        document.name,
        document.kind,
        found.auto_mode,
        str(document.get("spec", "role", default="")),
        str(document.get("spec", "instanceProfile", default="")),
        node_role(auto_mode=found.auto_mode),
        tuple(
            _selection(what, document.get("spec", field, default=[]))
            for what, field in _SELECTORS
            if document.get("spec", field)
        ),
        tuple(str(each["snapshotID"]) for each in mappings if each.get("snapshotID")),
        tuple(str(each) for each in keys if each),
    )


def _selection(what: str, terms: Any) -> Selection:
    tags = [
        {str(key): str(value) for key, value in dig(each, "tags", default={}).items()}
        for each in terms
        if dig(each, "tags")
    ]
    others = [f"{key}={dig(each, key)}" for each in terms for key in ("id", "name") if dig(each, key)]
    return Selection(what, tuple(tags), tuple(others))


def absent_classes(release: Release) -> list[tuple[str, str, tuple[str, ...]]]:
    """Kind, name and pools of node classes that pools refer to and the release does not bring."""
    found: dict[tuple[str, str], list[str]] = {}
    for pool in pools_of(release):
        if pool.node_class is None and (pool.on_ec2 or pool.auto_mode):
            reference = dig(pool.template, "nodeClassRef", default={})
            kind = str(dig(reference, "kind", default="EC2NodeClass"))
            found.setdefault((kind, str(dig(reference, "name", default=""))), []).append(pool.name)
    return [(kind, name, tuple(pools)) for (kind, name), pools in found.items()]


def nodes_from_elsewhere(release: Release) -> list[tuple[str, dict[str, str]]]:
    """GPU workloads that no pool of the release makes nodes for, and the labels that they look for there."""
    return [
        (subject.document.identity, {key: words(requirement) for key, requirement in alternative.items()})
        for subject in gpu_pods(release)
        if not subject.placed_on(release)
        for alternative in pod_requirements(subject.pod)
    ]


def market(release: Release) -> Market:
    """What the pools of AWS may buy."""
    own = [each for each in pools_of(release) if each.on_ec2]
    auto = [each for each in pools_of(release) if each.auto_mode]
    spot, reserved = _buyers([*own, *auto], "spot"), _buyers([*own, *auto], "reserved")
    return Market(spot, reserved, bool(_buyers(own, "spot") or _buyers(own, "reserved")), bool(_buyers(auto, "spot")))


def _buyers(pools: list[Pool], capacity_type: str) -> tuple[str, ...]:
    """Pools that may buy it; a reservation only where the pool names it, since without a selector there is none."""
    if capacity_type == "reserved":
        return tuple(each.name for each in pools if _names_capacity(each) and "reserved" in each.capacity_types)
    return tuple(each.name for each in pools if capacity_type in each.capacity_types)


def _names_capacity(pool: Pool) -> bool:
    return "karpenter.sh/capacity-type" in pool.requirements


def describe(release: Release, target: Target) -> Json:
    """Node classes with their roles, what spot needs, and the classes that somebody else must bring."""
    buyers = market(release)
    return {
        "classes": [_describe_class(each, target) for each in classes(release)],
        "absentClasses": [
            {"kind": kind, "name": name, "pools": list(pools)} for kind, name, pools in absent_classes(release)
        ],
        "fromElsewhere": [
            {"workload": workload, "labels": labels} for workload, labels in nodes_from_elsewhere(release)
        ],
        "spotPools": list(buyers.spot_pools),
        "reservedPools": list(buyers.reserved_pools),
        "spotServiceLinkedRole": (
            "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com" if buyers.spot_pools else None
        ),
        "interruptionQueue": _queue(target) if buyers.needs_queue else None,
        "interruptionByAutoMode": buyers.auto_mode_spot,
    }


def _describe_class(found: Class, target: Target) -> Json:
    described: Json = {
        "kind": found.kind,
        "name": found.name,
        "autoMode": found.auto_mode,
        "role": found.role or None,
        "instanceProfile": found.instance_profile or None,
        "accessEntryType": found.needs.access_entry_type,
        "managedPolicies": [target.managed_policy_arn(each) for each in found.needs.managed_policies],
        "selections": [
            {"what": each.what, "tags": [dict(tags) for tags in each.tags], "others": list(each.others)}
            for each in found.selections
        ],
        "snapshots": list(found.snapshots),
        "kmsKeys": list(found.keys),
        "trust": None,
        "karpenterPassRole": None,
        "files": {},
        "commands": _tagging(found, target),
    }
    if not found.role:
        return described
    trust_file = file_name("node-role", found.role, "trust.json")
    described["trust"] = policies.node_trust(target)
    described["files"][trust_file] = "trust"
    if not found.auto_mode:
        described["karpenterPassRole"] = policies.pass_node_role(target, found.role)
        described["files"][file_name("node-role", found.role, "karpenter-pass-role.json")] = "karpenterPassRole"
    arn = target.role_arn(found.role)
    commands = [
        f"aws iam create-role --role-name {word(found.role)} --assume-role-policy-document file://{trust_file}",
        *(
            f"aws iam attach-role-policy --role-name {word(found.role)} --policy-arn {target.managed_policy_arn(each)}"
            for each in found.needs.managed_policies
        ),
        (
            f"aws eks create-access-entry --region {target.region} --cluster-name {target.cluster}"
            f" --principal-arn {word(arn)} --type {found.needs.access_entry_type}"
        ),
    ]
    if found.needs.access_policy:
        commands.append(
            f"aws eks associate-access-policy --region {target.region} --cluster-name {target.cluster}"
            f" --principal-arn {word(arn)} --policy-arn arn:{target.partition}:eks::aws:cluster-access-policy/"
            f"{found.needs.access_policy} --access-scope type=cluster"
        )
    described["commands"] = [*commands, *described["commands"]]
    return described


def _tagging(found: Class, target: Target) -> list[str]:
    """Commands that tag what the class looks for; any value (`*`) is left to whoever tags."""
    resources = {"subnets": "<SUBNET_IDS>", "security groups": "<SECURITY_GROUP_IDS>"}
    return [
        f"aws ec2 create-tags --region {target.region} --resources {resources[each.what]} --tags"
        + "".join(f" {word(f'Key={key},Value={value}')}" for key, value in tags.items())
        for each in found.selections
        if each.what in resources
        for tags in each.tags
        if "*" not in tags.values()
    ]


def _queue(target: Target) -> Json:
    """Karpenter's queue: its name is what Karpenter is told, by habit that of the cluster."""
    arn = f"arn:{target.partition}:sqs:{target.region}:{target.account}:{target.cluster}"
    policy = policies.interruption_queue(arn)
    rules = {
        f"karpenter-{name}": {key: list(values) for key, values in pattern.items()}
        for name, pattern in interruption_events().items()
    }
    return {
        "name": target.cluster,
        "arn": arn,
        "karpenterSetting": f"settings.interruptionQueue={target.cluster}",
        "policy": policy,
        # As SQS takes them: every value is text. A notice that is five minutes old is about an instance that is gone.
        "attributes": {
            "MessageRetentionPeriod": "300",
            "SqsManagedSseEnabled": "true",
            "Policy": json.dumps(policy, separators=(",", ":")),
        },
        "rules": rules,
        "files": {
            "interruption-queue.attributes.json": "attributes",
            "interruption-queue.policy.json": "policy",
            **{f"interruption-queue.{name}.event-pattern.json": f"rules.{name}" for name in rules},
        },
        "commands": [
            (
                f"aws sqs create-queue --region {target.region} --queue-name {target.cluster}"
                " --attributes file://interruption-queue.attributes.json"
            ),
            *(
                f"aws events put-rule --region {target.region} --name {name}"
                f" --event-pattern file://interruption-queue.{name}.event-pattern.json"
                f" && aws events put-targets --region {target.region} --rule {name}"
                f" --targets Id=KarpenterInterruptionQueue,Arn={arn}"
                for name in rules
            ),
        ],
    }


def warnings(release: Release) -> list[str]:
    """What is wrong about node classes, and what adapters need that no object of the release shows."""
    said = [
        f"{identity} asks for {count} {EFA_RESOURCE}: its nodes need the EFA device plugin, and a security group that "
        "allows all traffic from and to its own members"
        for identity, count in dict.fromkeys(
            (each.document.identity, each.needs.efa) for each in gpu_pods(release) if each.needs.efa
        )
    ]
    for each in classes(release):
        if each.role.startswith("arn:"):
            said.append(f"{each.kind} {each.name}: spec.role is a role's name, not its ARN")
        if not each.role and not each.instance_profile:
            said.append(f"{each.kind} {each.name} names neither role nor instance profile: nodes cannot join")
    return said
