"""Every policy is one that IAM takes, and lets through what it should and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

from chartproof.aws import account, policies
from tests import presets
from tests.aws.releases import TARGET, described

#: Limits of the IAM user guide, "IAM and AWS STS quotas": a managed policy, and a role's trust policy.
MANAGED_LENGTH, TRUST_LENGTH = 6144, 2048
#: Actions of the service authorization reference that policies of ours may name.
ACTIONS = {
    "s3:GetObject",
    "s3:ListBucket",
    "s3:PutObject",
    "s3:AbortMultipartUpload",
    "sts:AssumeRole",
    "sts:TagSession",
    "sts:AssumeRoleWithWebIdentity",
    "iam:PassRole",
    "sqs:SendMessage",
    "ecr:BatchImportUpstreamImage",
    "ecr:CreateRepository",
    "aps:QueryMetrics",
}
#: Denials may name all actions of a service: they only take away.
DENIED = {"s3:*", "sqs:*", "s3:GetObject"}
_CONDITION = re.compile(r"(aws:[A-Za-z]+(/[\w-]+)?|s3:prefix|iam:PassedToService|oidc\.eks\..+:(sub|aud))")

EVERYTHING = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: engine}
spec:
  template:
    spec:
      serviceAccountName: reader
      containers:
        - name: vllm
          image: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/docker-hub/vllm/vllm-openai:v0.33.0
          command: [vllm, serve, s3://weights/llama]
---
apiVersion: batch/v1
kind: Job
metadata: {name: stage}
spec:
  template:
    spec:
      serviceAccountName: stager
      containers:
        - {name: stage, image: tool, command: [stage, --source, "hf://a/b", --target, "s3://weights/llama"]}
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: spot}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: gpu}
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: {name: gpu}
spec: {role: KarpenterNodeRole-prod}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: engine}
spec:
  scaleTargetRef: {name: engine}
  triggers:
    - type: prometheus
      metadata: {serverAddress: "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1234"}
"""


def _files() -> Iterator[Any]:
    for stem in presets.STEMS:
        found = account.files(account.describe(presets.render(stem), TARGET))
        yield from (pytest.param(content, id=f"{stem}-{name}") for name, content in found.items())
    yield from (pytest.param(content, id=name) for name, content in account.files(described(EVERYTHING)).items())


def _policies() -> list[Any]:
    return [each for each in _files() if "Statement" in each.values[0]]


def _is_trust(policy: Any) -> bool:
    return any(action.startswith("sts:") for each in policy["Statement"] for action in each["Action"])


def _of_identities() -> list[Any]:
    """Policies that IAM itself keeps: all but those of buckets and queues."""
    return [
        each
        for each in _policies()
        if _is_trust(each.values[0]) or not any("Principal" in statement for statement in each.values[0]["Statement"])
    ]


@pytest.fixture
def iam() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("iam", region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s")  # noqa: S106


def test_the_release_with_everything_has_every_kind_of_policy() -> None:
    names = set(account.files(described(EVERYTHING)))
    assert names >= {
        "llm.reader.permissions.json",
        "llm.stager.staging.json",
        "weights.optional-bucket-policy.json",
        "ecr.docker-hub.node-role.json",
        "node-role.KarpenterNodeRole-prod.karpenter-pass-role.json",
        "interruption-queue.policy.json",
        "keda-operator.query-metrics.json",
    }


@pytest.mark.parametrize("policy", _policies())
def test_policy_is_valid_and_as_narrow_as_it_can_be(policy: Any) -> None:
    assert set(policy) == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    assert len(json.dumps(policy, separators=(",", ":"))) <= MANAGED_LENGTH
    for statement in policy["Statement"]:
        actions = statement["Action"]
        actions = {actions} if isinstance(actions, str) else set(actions)
        assert actions <= (DENIED if statement["Effect"] == "Deny" else ACTIONS)
        resources = statement.get("Resource", [])
        for resource in [resources] if isinstance(resources, str) else resources:
            assert re.fullmatch(r"arn:aws:(s3|iam|sqs|ecr|aps):[a-z0-9-]*:(\d{12})?:[\w/<>.*-]+", resource)
            assert not resource.split(":")[5].startswith("*")
        assert ("Resource" in statement) != any(each.startswith("sts:") for each in actions)
        if "Principal" in statement and statement["Effect"] == "Allow":
            assert statement["Principal"] != "*"
        for conditions in statement.get("Condition", {}).values():
            assert all(_CONDITION.fullmatch(key) for key in conditions)


@pytest.mark.parametrize("policy", _of_identities())
def test_iam_takes_the_policy(iam: Any, policy: Any) -> None:
    text = json.dumps(policy)
    if _is_trust(policy):
        assert len(text) <= TRUST_LENGTH
        iam.create_role(RoleName="role", AssumeRolePolicyDocument=text)
    else:
        iam.create_role(RoleName="role", AssumeRolePolicyDocument=json.dumps(policies.node_trust(TARGET)))
        iam.put_role_policy(RoleName="role", PolicyName="inline", PolicyDocument=text)
        iam.create_policy(PolicyName="managed", PolicyDocument=text)


def test_iam_refuses_a_policy_that_is_wrong(iam: Any) -> None:
    wrong = policies.document({"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["not-an-arn"]})
    with pytest.raises(ClientError, match="MalformedPolicy"):
        iam.create_policy(PolicyName="wrong", PolicyDocument=json.dumps(wrong))


def test_buckets_and_queues_take_their_policies() -> None:
    files = account.files(described(EVERYTHING))
    with mock_aws():
        keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s"}
        s3 = boto3.client("s3", region_name="us-east-1", **keys)
        s3.create_bucket(Bucket="weights")
        s3.put_bucket_policy(Bucket="weights", Policy=json.dumps(files["weights.optional-bucket-policy.json"]))
        sqs = boto3.client("sqs", region_name="eu-central-1", **keys)
        attributes = files["interruption-queue.attributes.json"]
        assert json.loads(attributes["Policy"]) == files["interruption-queue.policy.json"]
        url = sqs.create_queue(QueueName="prod", Attributes=attributes)["QueueUrl"]
        kept = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert kept["MessageRetentionPeriod"] == "300"
        assert json.loads(kept["Policy"]) == files["interruption-queue.policy.json"]
        events = boto3.client("events", region_name="eu-central-1", **keys)
        patterns = [content for name, content in files.items() if name.endswith("event-pattern.json")]
        for i, pattern in enumerate(patterns):
            events.put_rule(Name=f"rule-{i}", EventPattern=json.dumps(pattern))
        assert len(patterns) == 5


@pytest.mark.parametrize(
    ("attached", "action", "key", "allowed"),
    [
        (["permissions"], "get", "llama/config.json", True),
        (["permissions"], "get", "llama-2/config.json", False),
        (["permissions"], "get", "other/config.json", False),
        (["permissions"], "put", "llama/config.json", False),
        (["permissions", "staging"], "put", "llama/config.json", True),
        (["permissions", "staging"], "put", "other/config.json", False),
    ],
)
def test_who_holds_the_policy_does_that_and_no_more(attached: list[str], action: str, key: str, allowed: bool) -> None:
    [identity] = [each for each in described(EVERYTHING)["identities"] if each["serviceAccount"] == "stager"]
    with mock_aws():
        owner = {"region_name": "us-east-1", "aws_access_key_id": "k", "aws_secret_access_key": "s"}
        s3, iam = boto3.client("s3", **owner), boto3.client("iam", **owner)
        s3.create_bucket(Bucket="weights")
        s3.put_object(Bucket="weights", Key=key, Body=b"{}")
        iam.create_user(UserName="pod")
        for each in attached:
            iam.put_user_policy(UserName="pod", PolicyName=each, PolicyDocument=json.dumps(identity[each]))
        made = iam.create_access_key(UserName="pod")["AccessKey"]
        pod = boto3.client(
            "s3",
            region_name="us-east-1",
            aws_access_key_id=made["AccessKeyId"],
            aws_secret_access_key=made["SecretAccessKey"],
        )

        @set_initial_no_auth_action_count(0)
        def attempt() -> None:
            if action == "get":
                pod.get_object(Bucket="weights", Key=key)
            else:
                pod.put_object(Bucket="weights", Key=key, Body=b"{}")

        if allowed:
            attempt()
        else:
            with pytest.raises(ClientError, match="AccessDenied"):
                attempt()


def test_listing_is_limited_to_the_prefix() -> None:
    [listing, reading] = policies.read_bucket("aws", "weights", ["llama", "qwen/model.gguf"])
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["llama", "llama/*", "qwen/model.gguf"]}}
    assert reading["Resource"] == ["arn:aws:s3:::weights/llama/*", "arn:aws:s3:::weights/qwen/model.gguf"]


def test_a_whole_bucket_is_listed_without_condition() -> None:
    [listing, reading] = policies.read_bucket("aws-cn", "weights", [""])
    assert "Condition" not in listing
    assert reading["Resource"] == ["arn:aws-cn:s3:::weights/*"]


def test_trust_names_one_service_account_of_one_cluster() -> None:
    [pod] = policies.pod_identity_trust(TARGET, "llm", "engine")["Statement"]
    assert pod["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert pod["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert pod["Condition"]["StringEquals"] == {
        "aws:RequestTag/eks-cluster-arn": "arn:aws:eks:eu-central-1:123456789012:cluster/prod",
        "aws:RequestTag/kubernetes-namespace": "llm",
        "aws:RequestTag/kubernetes-service-account": "engine",
    }
    [token] = policies.irsa_trust(TARGET, "llm", "engine")["Statement"]
    issuer = "oidc.eks.eu-central-1.amazonaws.com/id/<OIDC_ID>"
    assert token["Principal"] == {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{issuer}"}
    assert token["Condition"]["StringEquals"] == {
        f"{issuer}:sub": "system:serviceaccount:llm:engine",
        f"{issuer}:aud": "sts.amazonaws.com",
    }


def test_bucket_policy_refuses_plain_http_and_other_ways_than_the_endpoint() -> None:
    tls, endpoint = policies.bucket_policy("aws", "weights", ["llama"])["Statement"]
    assert tls["Effect"] == endpoint["Effect"] == "Deny"
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert endpoint["Resource"] == ["arn:aws:s3:::weights/llama/*"]
    assert endpoint["Condition"]["StringNotEquals"] == {"aws:SourceVpce": "<S3_VPC_ENDPOINT_ID>"}
