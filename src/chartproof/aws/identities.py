"""ServiceAccounts whose pods use S3: the role of each with its policies, and the policies of the buckets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from chartproof.aws import policies
from chartproof.aws.object_storage import Access, Role, annotated_role, region_of, service_account
from chartproof.aws.target import Target, file_name, role_name, word
from chartproof.release import Release

Json = dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """A ServiceAccount and all that its pods do in S3.

    `role` is the one that it is annotated with: then the release uses IRSA, else EKS Pod Identity. `brought` says
    whether the release has the ServiceAccount.
    """

    namespace: str
    name: str
    accesses: tuple[Access, ...]
    role: Role | None
    brought: bool

    @property
    def mechanism(self) -> str:
        """How its pods get their credentials: `irsa` or `podIdentity`."""
        return "irsa" if self.role else "podIdentity"

    @property
    def role_name(self) -> str:
        """The annotated role, else a name for the one to make."""
        return self.role.name if self.role else role_name(self.namespace, self.name)


def identities(release: Release, found: Sequence[Access]) -> list[Identity]:
    """The ServiceAccounts behind these accesses; those that are signed by static keys have none."""
    grouped: dict[tuple[str, str], list[Access]] = {}
    for each in found:
        if each.signed_by == "role":
            grouped.setdefault((each.namespace, each.service_account), []).append(each)
    made = []
    for (namespace, name), accesses in grouped.items():
        document = service_account(release, namespace, name)
        made.append(Identity(namespace, name, tuple(accesses), annotated_role(document), document is not None))
    return made


def describe(identity: Identity, target: Target) -> Json:
    """The role of a ServiceAccount: policies, and the commands that make it."""
    namespace, name = identity.namespace, identity.name
    role = identity.role_name
    arn = identity.role.arn if identity.role else target.role_arn(role)
    permissions, staging = permission_policies(identity.accesses, target)
    trusts = {
        "podIdentity": policies.pod_identity_trust(target, namespace, name),
        "irsa": policies.irsa_trust(target, namespace, name),
    }
    files = {
        "permissions": file_name(namespace, name, "permissions.json"),
        "staging": file_name(namespace, name, "staging.json"),
        "podIdentity": file_name(namespace, name, "trust-pod-identity.json"),
        "irsa": file_name(namespace, name, "trust-irsa.json"),
    }
    path = f" --path {word(identity.role.path)}" if identity.role and identity.role.path != "/" else ""
    commands = [
        (
            f"aws iam create-role --role-name {word(role)}{path}"
            f" --assume-role-policy-document file://{files[identity.mechanism]}"
        ),
        _put_policy(role, "read-weights", files["permissions"]),
    ]
    if staging:
        commands.append(_put_policy(role, "stage-weights", files["staging"]))
    association = (
        f"aws eks create-pod-identity-association --region {target.region} --cluster-name {target.cluster}"
        f" --namespace {word(namespace)} --service-account {word(name)} --role-arn {word(arn)}"
    )
    if identity.mechanism == "podIdentity":
        commands.append(association)
    return {
        "namespace": namespace,
        "serviceAccount": name,
        "broughtByRelease": identity.brought,
        "mechanism": identity.mechanism,
        "needs": _needs(identity.mechanism, target),
        "roleName": role,
        "roleArn": arn,
        "access": [
            {
                "workload": each.workload,
                "address": each.address,
                "bucket": each.bucket,
                "prefix": each.prefix,
                "writes": each.writes,
                "region": each.region or None,
            }
            for each in identity.accesses
        ],
        "permissions": permissions,
        "staging": staging,
        "trust": trusts,
        "podIdentityAssociation": association,
        "files": {
            files["permissions"]: "permissions",
            **({files["staging"]: "staging"} if staging else {}),
            files["podIdentity"]: "trust.podIdentity",
            files["irsa"]: "trust.irsa",
        },
        "commands": commands,
    }


def permission_policies(accesses: Sequence[Access], target: Target) -> tuple[policies.Policy, policies.Policy | None]:
    """What these accesses need: to read, and beside it to store, None where nothing is stored.

    What is stored is read too, since staging looks at what is there already. Storing has a policy of its own, so
    that it can be attached while the Job runs and taken away after it.
    """
    partition = target.partition
    reads = [policies.read_bucket(partition, *each) for each in prefixes_by_bucket(accesses).items()]
    writes = [
        policies.write_bucket(partition, *each)
        for each in prefixes_by_bucket(each for each in accesses if each.writes).items()
    ]
    permissions = policies.document(*(statement for each in reads for statement in each))
    staging = policies.document(*(statement for each in writes for statement in each)) if writes else None
    return permissions, staging


def prefixes_by_bucket(accesses: Iterable[Access]) -> dict[str, list[str]]:
    """Prefixes of each bucket, without those that lie below another."""
    found: dict[str, list[str]] = {}
    for each in accesses:
        if each.prefix not in found.setdefault(each.bucket, []):
            found[each.bucket].append(each.prefix)
    return {
        bucket: [each for each in prefixes if not any(_below(each, other) for other in prefixes)]
        for bucket, prefixes in found.items()
    }


def _below(prefix: str, other: str) -> bool:
    return prefix != other and (not other or prefix.startswith(other + "/"))


def _put_policy(role: str, policy: str, file: str) -> str:
    return f"aws iam put-role-policy --role-name {word(role)} --policy-name {policy} --policy-document file://{file}"


def _needs(mechanism: str, target: Target) -> list[str]:
    if mechanism == "irsa":
        return [f"the IAM OIDC provider {target.oidc_provider} of the cluster, with the audience sts.amazonaws.com"]
    return ["the EKS add-on eks-pod-identity-agent (EKS Auto Mode has it), with session tags left on"]


def buckets(found: Sequence[Access], target: Target) -> list[Json]:
    """The buckets: an optional policy for each, and what the owner of static keys needs where those are used."""
    described = []
    for bucket, prefixes in prefixes_by_bucket(found).items():
        own = [each for each in found if each.bucket == bucket]
        keyed = [each for each in own if each.signed_by == "keys"]
        permissions, staging = permission_policies(keyed, target) if keyed else (None, None)
        file = file_name(bucket, "optional-bucket-policy.json")
        files = {file: "optionalPolicy"}
        if permissions:
            files[file_name(bucket, "static-keys.json")] = "staticKeysPermissions"
        if staging:
            files[file_name(bucket, "static-keys-staging.json")] = "staticKeysStaging"
        described.append(
            {
                "name": bucket,
                "region": region_of(own) or None,
                "prefixes": prefixes,
                "readWithStaticKeysBy": sorted({each.workload for each in keyed}),
                "staticKeysPermissions": permissions,
                "staticKeysStaging": staging,
                "optionalPolicy": policies.bucket_policy(target.partition, bucket, prefixes),
                "files": files,
                "commands": [f"aws s3api put-bucket-policy --bucket {bucket} --policy file://{file}"],
            }
        )
    return described


def warnings(found: Sequence[Access], made: Sequence[Identity], target: Target) -> list[str]:
    """What is wrong or risky about the roles and buckets."""
    said = [message for each in made for message in _identity_warnings(each, target)]
    for bucket in dict.fromkeys(each.bucket for each in found):
        region = region_of([each for each in found if each.bucket == bucket])
        if target.known_region and region and region != target.region:
            said.append(
                f"bucket {bucket} is in {region}, the cluster in {target.region}: a gateway endpoint does not reach it,"
                " and transfer between regions is slow and paid for"
            )
    return said


def _identity_warnings(identity: Identity, target: Target) -> list[str]:
    said = []
    name = f"ServiceAccount {identity.namespace}/{identity.name}"
    if identity.name == "default":
        said.append(f"{name}: its role is that of every pod of the namespace; name a ServiceAccount")
    elif not identity.brought:
        said.append(f"{name} is not part of the release: where it is annotated with a role, use the trust of IRSA")
    readers = sorted({each.workload for each in identity.accesses if not each.writes})
    if readers and any(each.writes for each in identity.accesses):
        said.append(
            f"{name} is that of the staging Job and of {', '.join(readers)}: attach the staging policy only while the"
            " Job runs, or stage with chartproof stage-weights under another identity"
        )
    if identity.role and not identity.role.account:
        said.append(f"{name}: {identity.role.arn!r} is no role's ARN (arn:aws:iam::<ACCOUNT_ID>:role/NAME)")
    elif identity.role and target.account.isdigit() and identity.role.account != target.account:
        said.append(f"{name}: its role is of account {identity.role.account}, the cluster is in {target.account}")
    return said
