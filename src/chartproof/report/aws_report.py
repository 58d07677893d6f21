"""The prerequisites of a release in an AWS account, for readers; policies in full are in JSON and in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chartproof.report.table import table

Described = Mapping[str, Any]
_MECHANISMS = {"podIdentity": "EKS Pod Identity", "irsa": "IRSA (annotation eks.amazonaws.com/role-arn)"}


def text(described: Described) -> str:
    """One release."""
    sections = (
        ("warnings", _warnings(described)),
        ("roles of ServiceAccounts", _identities(described)),
        ("buckets", _buckets(described)),
        ("network", _network(described)),
        ("images", _images(described["images"])),
        ("nodes", _nodes(described["nodes"])),
        ("quotas of EC2, in vCPUs", _quotas(described["quotas"])),
        ("storage", _storage(described["storage"])),
        ("metrics", _metrics(described["metrics"])),
        ("objects that the release refers to and does not bring", _secrets(described["secrets"])),
    )
    filled = [(title, list(lines)) for title, lines in sections]
    lines = [f"{described['release']}: what must exist in account {described['account']}"]
    for title, found in filled:
        if found:
            lines += ["", f"  {title}", *(f"    {line}".rstrip() for line in found)]
    if not any(found for _, found in filled):
        lines += ["", "  nothing: no bucket, registry, node class, quota or storage of AWS is rendered"]
    return "".join(f"{line}\n" for line in lines)


def placeholders(described: Sequence[Described]) -> str:
    """The placeholders of all releases, once; empty where there are none."""
    found = {each["placeholder"]: each["find"] for release in described for each in release["placeholders"]}
    if not found:
        return ""
    width = max(map(len, found))
    lines = ["replace before use", *(f"  {name.ljust(width)}  {find}" for name, find in found.items())]
    return "".join(f"{line}\n" for line in lines)


def _warnings(described: Described) -> Iterator[str]:
    return (f"! {each}" for each in described["warnings"])


def _identities(described: Described) -> Iterator[str]:
    for each in described["identities"]:
        name = f"{each['namespace']}/{each['serviceAccount']}"
        yield f"{name} by {_MECHANISMS[each['mechanism']]}, role {each['roleName']}"
        for access in each["access"]:
            yield f"  {'writes' if access['writes'] else 'reads'} {access['address']} ({access['workload']})"
        for need in each["needs"]:
            yield f"  needs {need}"
        for policy, title in ((each["permissions"], "may"), (each["staging"], "may, while the staging Job runs,")):
            if policy:
                yield from (f"  {line}" for line in _statements(policy, title))
        yield from _commands(each["commands"])


def _statements(policy: Described, title: str) -> Iterator[str]:
    for statement in policy["Statement"]:
        limits = [
            f"{key} {' or '.join(values)}"
            for key, values in statement.get("Condition", {}).get("StringLike", {}).items()
        ]
        where = ", ".join(statement["Resource"])
        yield f"{title} {', '.join(statement['Action'])} on {where}" + (f" where {'; '.join(limits)}" if limits else "")


def _buckets(described: Described) -> Iterator[str]:
    for each in described["buckets"]:
        region = f" in {each['region']}" if each["region"] else ""
        yield f"{each['name']}{region}, with {', '.join(prefix or 'all of it' for prefix in each['prefixes'])}"
        if each["readWithStaticKeysBy"]:
            users = ", ".join(each["readWithStaticKeysBy"])
            yield f"  static keys of {users}: their IAM user needs the policy static-keys.json; a role needs no keys"
        yield "  optional policy: TLS only, and weights only through the VPC's endpoint (it shuts out everybody else)"
        yield from _commands(each["commands"])


def _network(described: Described) -> Iterator[str]:
    for each in described["egress"]:
        admits = f"; they admit {', '.join(each['admits'])}" if each["admits"] else ""
        yield f"! NetworkPolicy {', '.join(each['policies'])} keeps {each['workload']} from {each['blocks']}{admits}"
    for each in described["endpoints"]:
        yield f"VPC endpoint {each['service']} ({each['type']})"
        yield from (f"  {reason}" for reason in each["reasons"])
        yield from _commands(each["commands"])
    for each in described["internet"]:
        yield f"internet, or another source, for {each['host']}: {'; '.join(each['reasons'])}"


def _images(described: Described) -> Iterator[str]:
    for each in described["pullThroughCaches"]:
        yield f"pull-through cache {each['account']}/{each['prefix']} in {each['region']} of {each['upstream']}"
        yield from (f"  {image}" for image in each["images"])
        if each["credentialSecret"]:
            yield f"  secret {each['credentialSecret']} in Secrets Manager: {each['upstream']} asks for a user"
        yield f"  the nodes' role needs {', '.join(each['files'])}"
        yield from _commands(each["commands"])
    for each in described["repositories"]:
        yield f"repository and image in ECR: {each}"
    for each in described["pulledDirectly"]:
        if each["pullThroughPossible"]:
            user = ", with a user of that registry" if each["credentialNeeded"] else ""
            yield f"{each['registry']} is pulled from directly; a pull-through cache is possible{user}"
        else:
            yield f"{each['registry']} is pulled from directly; ECR has no pull-through cache for it"


def _nodes(described: Described) -> Iterator[str]:
    for each in described["classes"]:
        role = f"role {each['role']}" if each["role"] else f"instance profile {each['instanceProfile']}"
        policies = ", ".join(arn.rpartition("/")[2] for arn in each["managedPolicies"])
        yield f"{each['kind']} {each['name']}: {role}, access entry of type {each['accessEntryType']}"
        yield f"  its role has {policies}"
        if each["role"] and not each["autoMode"]:
            yield "  the role of Karpenter's controller may pass it on (karpenter-pass-role.json)"
        for selection in each["selections"]:
            tags = [", ".join(f"{key}={value}" for key, value in term.items()) for term in selection["tags"]]
            yield f"  {selection['what']} with {' or '.join([*tags, *selection['others']])}"
        for kind, values in (("snapshot", each["snapshots"]), ("KMS key that the role may use:", each["kmsKeys"])):
            yield from (f"  {kind} {value}" for value in values)
        yield from _commands(each["commands"])
    for each in described["absentClasses"]:
        yield f"{each['kind']} {each['name']} of {', '.join(each['pools'])} comes from another release, with its role"
    for each in described["fromElsewhere"]:
        labels = ", ".join(f"{key} {value}" for key, value in each["labels"].items()) or "GPUs"
        yield f"nodes of another release or a node group for {each['workload']}, with {labels}"
    if described["spotServiceLinkedRole"]:
        yield f"service-linked role for spot, once per account (pools {', '.join(described['spotPools'])})"
        yield from _commands([described["spotServiceLinkedRole"]])
    queue = described["interruptionQueue"]
    if queue:
        yield f"interruption queue {queue['name']}, and Karpenter with {queue['karpenterSetting']}"
        yield from _commands(queue["commands"])
    if described["interruptionByAutoMode"]:
        yield "EKS Auto Mode handles interruptions of spot itself: no queue"


def _quotas(described: Described) -> Iterator[str]:
    rows = []
    for each in described["needed"]:
        for need in each["needs"]:
            replicas = f"{need['replicas']} + {need['surge']}" if need["replicas"] else "limit"
            rows.append(
                [
                    each["code"] or "none",
                    each["capacityType"],
                    need["source"],
                    replicas,
                    str(need["gpus"]),
                    *(
                        f"{need[key]['vcpus']} ({need[key]['nodes']} {need[key]['instanceType']})"
                        for key in ("cheapest", "largest")
                    ),
                ]
            )
    if rows:
        headings = ("quota", "capacity", "for", "replicas", "GPUs", "cheapest type", "largest type")
        yield from table(headings, rows).splitlines()
    for each in described["needed"]:
        default = "" if each["defaultVcpus"] is None else f"; a new account has {each['defaultVcpus']}"
        code = f" ({each['code']})" if each["code"] else ""
        yield f"{each['name']}{code}: {each['cheapestVcpus']} to {each['largestVcpus']}{default}"
        yield from _commands(each["commands"])
    for each in described["unsized"]:
        yield f"{each['source']}: not counted, {each['reason']}"


def _storage(described: Sequence[Described]) -> Iterator[str]:
    for each in described:
        wanted = f"StorageClass {each['storageClass']}" if each["storageClass"] else "the default StorageClass"
        served = f" of {each['title']} ({each['driver']})" if each["driver"] else ""
        guess = ", as its name says" if each["driverToldByClassName"] else ""
        yield f"{each['claim']}: {wanted}{served}{guess}, {each['size'] or 'any size'}"
        if each["resource"]:
            yield f"  needs {each['resource']}"
        if each["driverRolePolicy"]:
            yield f"  the driver's role has {each['driverRolePolicy'].partition('policy/')[2]}"
        if each["files"]:
            yield f"  the class, where it is not there yet: kubectl apply --filename {', '.join(each['files'])}"
        yield from _commands(each["commands"])


def _metrics(described: Described | None) -> Iterator[str]:
    if described:
        yield f"the role of KEDA's operator may aps:QueryMetrics on {', '.join(described['workspaces'])}"


def _secrets(described: Sequence[Described]) -> Iterator[str]:
    for each in described:
        keys = f" with {', '.join(each['keys'])}" if each["keys"] else ""
        yield f"{each['kind']} {each['namespace']}/{each['name']}{keys}"


def _commands(commands: Sequence[str]) -> Iterator[str]:
    return (f"  $ {each}" for each in commands)
