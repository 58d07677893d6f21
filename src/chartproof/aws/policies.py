"""IAM, bucket and queue policies as plain dictionaries. Pure functions: nothing here talks to AWS.

Sources: the IAM user guide's grammar of policies, the service authorization reference of Amazon S3,
the EKS user guide on Pod Identity and on IAM roles for service accounts, and Karpenter's reference
of its CloudFormation template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chartproof.aws.target import Target

Policy = dict[str, Any]
_VERSION = "2012-10-17"

#: Endings of single files: an address that ends so is one object, not a prefix of many.
_FILES = (".gguf", ".json", ".safetensors", ".bin", ".tar", ".tar.gz", ".tgz", ".tar.zst", ".zst", ".zip", ".txt")


def document(*statements: Mapping[str, Any]) -> Policy:
    """A policy of these statements."""
    return {"Version": _VERSION, "Statement": [dict(each) for each in statements]}


def is_object(prefix: str) -> bool:
    """Whether an address names one object instead of a prefix."""
    return prefix.endswith(_FILES)


def objects(partition: str, bucket: str, prefix: str) -> str:
    """ARN of the objects below a prefix (of all, where it is empty), or of the one object that it names."""
    path = prefix if is_object(prefix) else f"{prefix}/*" if prefix else "*"
    return f"arn:{partition}:s3:::{bucket}/{path}"


def read_bucket(partition: str, bucket: str, prefixes: Sequence[str]) -> list[dict[str, Any]]:
    """Statements that let read and list exactly these prefixes of a bucket.

    Without s3:ListBucket S3 answers a missing object by 403 instead of 404, so that it belongs to reading.
    """
    listing: dict[str, Any] = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [f"arn:{partition}:s3:::{bucket}"],
    }
    if all(prefixes):
        patterns = [pattern for each in prefixes for pattern in ([each] if is_object(each) else [each, f"{each}/*"])]
        listing["Condition"] = {"StringLike": {"s3:prefix": patterns}}
    reading = {
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": [objects(partition, bucket, each) for each in prefixes],
    }
    return [listing, reading]


def write_bucket(partition: str, bucket: str, prefixes: Sequence[str]) -> list[dict[str, Any]]:
    """The statement that lets store objects below these prefixes, in parts where they are large."""
    return [
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
            "Resource": [objects(partition, bucket, each) for each in prefixes],
        }
    ]


def pod_identity_trust(target: Target, namespace: str, service_account: str) -> Policy:
    """Who may take a role by EKS Pod Identity: pods of this ServiceAccount in this cluster.

    The conditions are on the session tags that EKS sends, so the association must not disable them.
    """
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": "pods.eks.amazonaws.com"},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {
                "StringEquals": {
                    "aws:RequestTag/eks-cluster-arn": target.cluster_arn,
                    "aws:RequestTag/kubernetes-namespace": namespace,
                    "aws:RequestTag/kubernetes-service-account": service_account,
                }
            },
        }
    )


def irsa_trust(target: Target, namespace: str, service_account: str) -> Policy:
    """Who may take a role by a ServiceAccount's token (IRSA): this ServiceAccount, for AWS STS."""
    provider = target.oidc_provider
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": f"arn:{target.partition}:iam::{target.account}:oidc-provider/{provider}"},
            "Action": ["sts:AssumeRoleWithWebIdentity"],
            "Condition": {
                "StringEquals": {
                    f"{provider}:sub": f"system:serviceaccount:{namespace}:{service_account}",
                    f"{provider}:aud": "sts.amazonaws.com",
                }
            },
        }
    )


def bucket_policy(partition: str, bucket: str, prefixes: Sequence[str]) -> Policy:
    """Refuse requests without TLS, and reads of the weights that do not come through the VPC's endpoint."""
    return document(
        {
            "Sid": "DenyWithoutTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [f"arn:{partition}:s3:::{bucket}", f"arn:{partition}:s3:::{bucket}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
        {
            "Sid": "DenyReadsOutsideTheVpcEndpoint",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": [objects(partition, bucket, each) for each in prefixes],
            "Condition": {
                "StringNotEquals": {"aws:SourceVpce": "<S3_VPC_ENDPOINT_ID>"},
                "BoolIfExists": {"aws:PrincipalIsAWSService": "false"},
            },
        },
    )


def node_trust(target: Target) -> Policy:
    """Who may take the role of nodes: EC2 instances."""
    service = "ec2.amazonaws.com.cn" if target.partition == "aws-cn" else "ec2.amazonaws.com"
    return document({"Effect": "Allow", "Principal": {"Service": service}, "Action": ["sts:AssumeRole"]})


def pass_node_role(target: Target, role: str) -> Policy:
    """What Karpenter's controller needs in order to launch instances with this role."""
    return document(
        {
            "Effect": "Allow",
            "Action": ["iam:PassRole"],
            "Resource": [target.role_arn(role)],
            "Condition": {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        }
    )


def interruption_queue(queue_arn: str) -> Policy:
    """Who may write to Karpenter's interruption queue: EventBridge, over TLS."""
    return document(
        {
            "Sid": "EventBridgeWrites",
            "Effect": "Allow",
            "Principal": {"Service": ["events.amazonaws.com", "sqs.amazonaws.com"]},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
        },
        {
            "Sid": "DenyWithoutTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": queue_arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    )


def pull_through(partition: str, region: str, account: str, prefixes: Sequence[str]) -> Policy:
    """What nodes need beside pulling, so that the first pull through a cache fetches the image."""
    return document(
        {
            "Effect": "Allow",
            "Action": ["ecr:BatchImportUpstreamImage", "ecr:CreateRepository"],
            "Resource": [f"arn:{partition}:ecr:{region}:{account}:repository/{each}/*" for each in prefixes],
        }
    )


def query_metrics(workspace_arns: Sequence[str]) -> Policy:
    """What KEDA's operator needs to ask Amazon Managed Service for Prometheus."""
    return document({"Effect": "Allow", "Action": ["aps:QueryMetrics"], "Resource": list(workspace_arns)})
