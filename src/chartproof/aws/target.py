"""Whose account it is: account, cluster and region, or placeholders that say what to put there."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chartproof.errors import UsageError

#: Every placeholder that the output may hold: what it stands for, and where to find it.
PLACEHOLDERS: Mapping[str, str] = {
    "<ACCOUNT_ID>": "the account's number: --account, or aws sts get-caller-identity --query Account",
    "<CLUSTER_NAME>": "the EKS cluster's name: --cluster, or aws eks list-clusters",
    "<REGION>": "the cluster's region: --region, or aws configure get region",
    "<OIDC_ID>": "last part of: aws eks describe-cluster --name <CLUSTER_NAME> --query cluster.identity.oidc.issuer",
    "<S3_VPC_ENDPOINT_ID>": "aws ec2 describe-vpc-endpoints, the one of service com.amazonaws.<REGION>.s3",
    "<VPC_ID>": "aws eks describe-cluster --name <CLUSTER_NAME> --query cluster.resourcesVpcConfig.vpcId",
    "<ROUTE_TABLE_IDS>": "route tables of the nodes' subnets: aws ec2 describe-route-tables",
    "<SUBNET_IDS>": "subnets of the nodes: aws eks describe-cluster --query cluster.resourcesVpcConfig.subnetIds",
    "<SECURITY_GROUP_IDS>": "the nodes' security group; endpoints need one that admits TCP 443 from them",
    "<EFS_FILE_SYSTEM_ID>": "aws efs describe-file-systems",
    "<FSX_SUBNET_ID>": "a subnet of the zone that the nodes are in",
    "<FSX_SECURITY_GROUP_ID>": "a security group that admits Lustre's ports from the nodes",
    "<UPSTREAM_USER>": "the user name at the upstream registry",
    "<UPSTREAM_ACCESS_TOKEN>": "a read-only access token of that user",
}
_PLACEHOLDER = re.compile(r"<[A-Z][A-Z0-9_]+>")
_ACCOUNT = re.compile(r"\d{12}")
#: Source: CreateCluster of the Amazon EKS API reference.
_CLUSTER = re.compile(r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}")
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d{1,2}")
_PLAIN_WORD = re.compile(r"(?:[\w@%+=:,./-]|<[A-Z0-9_]+>)+")
#: Longest name of an IAM role. Source: CreateRole of the IAM API reference.
ROLE_NAME_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Target:
    """Account, cluster and region; each a placeholder where it was not said."""

    account: str = "<ACCOUNT_ID>"
    cluster: str = "<CLUSTER_NAME>"
    region: str = "<REGION>"

    @classmethod
    def of(cls, *, account: str | None, cluster: str | None, region: str | None) -> Target:
        """From the command line. Raises UsageError for what AWS would refuse."""
        for value, pattern, option, how in (
            (account, _ACCOUNT, "--account", "write the 12 digits, in quotes where they begin with 0"),
            (cluster, _CLUSTER, "--cluster", "write the name that aws eks list-clusters prints, not its ARN"),
            (region, _REGION, "--region", "write a region such as eu-central-1, not a zone"),
        ):
            if value is not None and not pattern.fullmatch(value):
                raise UsageError(f"{value!r} cannot be right", where=option, how=how)
        default = cls()
        return cls(account or default.account, cluster or default.cluster, region or default.region)

    @property
    def known_region(self) -> bool:
        """Whether the region was said."""
        return not self.region.startswith("<")

    @property
    def partition(self) -> str:
        """First part of ARNs: that of the region's partition, `aws` where the region is not known."""
        if self.region.startswith("cn-"):
            return "aws-cn"
        return "aws-us-gov" if self.region.startswith("us-gov-") else "aws"

    @property
    def domain(self) -> str:
        """Domain of the partition's services."""
        return "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"

    @property
    def oidc_provider(self) -> str:
        """The cluster's OpenID Connect provider, without https://."""
        return f"oidc.eks.{self.region}.{self.domain}/id/<OIDC_ID>"

    @property
    def cluster_arn(self) -> str:
        """ARN of the cluster."""
        return f"arn:{self.partition}:eks:{self.region}:{self.account}:cluster/{self.cluster}"

    def role_arn(self, name: str) -> str:
        """ARN of a role of the account."""
        return f"arn:{self.partition}:iam::{self.account}:role/{name}"

    def managed_policy_arn(self, name: str) -> str:
        """ARN of a policy that AWS maintains."""
        return f"arn:{self.partition}:iam::aws:policy/{name}"


def role_name(*parts: str) -> str:
    """A role's name from parts, shortened with a hash of the whole where IAM would refuse its length."""
    name = re.sub(r"[^\w+=,.@-]", "-", "-".join(parts))
    if len(name) <= ROLE_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: ROLE_NAME_LENGTH - 9]}-{digest}"


def file_name(*parts: str) -> str:
    """A file's name from parts that manifests say: no directory, and nothing that a shell reads otherwise."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ".".join(parts)).lstrip(".-") or "release"


def word(text: str) -> str:
    """Text of a manifest as one word of a printed command; placeholders stay as they are."""
    return text if _PLAIN_WORD.fullmatch(text) else shlex.quote(text)


def placeholders_in(described: Any) -> Iterator[str]:
    """The placeholders that a description holds, in the order of `PLACEHOLDERS`."""
    found = set(_PLACEHOLDER.findall(json.dumps(described, ensure_ascii=False)))
    return (each for each in PLACEHOLDERS if each in found)
