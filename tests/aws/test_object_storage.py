from __future__ import annotations

from typing import Any

import pytest

from chartproof.aws import identities, object_storage
from chartproof.aws.target import Target
from tests.aws.releases import TARGET, described, release


def _job(container: str, spec: str = "serviceAccountName: loader", kind: str = "Job") -> str:
    return f"""
apiVersion: batch/v1
kind: {kind}
metadata: {{name: load}}
spec:
  template:
    spec:
      {spec}
      containers:
        - {container}
"""


def _addresses(text: str) -> list[tuple[str, bool]]:
    found, _ = object_storage.accesses(release(text))
    return [(each.address, each.writes) for each in found]


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ("{image: x, command: [vllm, serve, s3://b-1/llama/]}", [("s3://b-1/llama", False)]),
        ("{image: x, command: [weights.py, stage, --target, s3://b-1/llama]}", [("s3://b-1/llama", True)]),
        ("{image: x, command: [weights.py, stage, --target=s3://b-1/llama]}", [("s3://b-1/llama", True)]),
        ("{image: x, command: [sh, -c, 'aws s3 sync s3://b-1/llama /weights']}", [("s3://b-1/llama", False)]),
        ("{image: x, command: [sh, -c, 'aws s3 cp --recursive /weights s3://b-1/llama']}", [("s3://b-1/llama", True)]),
        (
            "{image: x, command: [s5cmd, cp, 's3://b-1/llama/*', 's3://b-2/llama/']}",
            [("s3://b-1/llama", False), ("s3://b-2/llama", True)],
        ),
        ("{image: x, env: [{name: MODEL, value: s3://b-1/llama}]}", [("s3://b-1/llama", False)]),
        (
            "{image: x, env: [{name: B, value: b-1}], command: [sh, -c, 'aws s3 sync s3://$B/llama /w']}",
            [("s3://b-1/llama", False)],
        ),
        (
            "{image: x, env: [{name: B, value: b-1}], command: [get, 's3://$(B)/llama']}",
            [("s3://b-1/llama", False)],
        ),
        ('{image: x, command: [get, \'{"path": "s3://b-1/lora"}\']}', [("s3://b-1/lora", False)]),
        ("{image: x, command: [get, s3://b-1]}", [("s3://b-1", False)]),
        ("{image: x, command: [get, gs://b-1/llama, hf://a/b]}", []),
        ("{image: x, command: [get, s3://b-1/l], env: [{name: AWS_ENDPOINT_URL, value: 'http://minio:9000'}]}", []),
        (
            (
                "{image: x, command: [get, s3://b-1/l], "
                "env: [{name: AWS_ENDPOINT_URL, value: 'https://s3.eu-central-1.amazonaws.com'}]}"
            ),
            [("s3://b-1/l", False)],
        ),
        ("{image: x, command: [get, s3://b-1/l, --no-sign-request]}", []),
        ("{image: x, command: [sh, -c, 'aws s3 sync --no-sign-request s3://b-1/l /w']}", []),
    ],
)
def test_commands_and_variables_say_what_is_read_and_written(container: str, expected: list[tuple[str, bool]]) -> None:
    assert _addresses(_job(container)) == expected


def test_init_containers_count_and_node_agents_do_not() -> None:
    text = _job("{image: x}", "initContainers: [{image: x, command: [get, s3://b-1/l]}]")
    assert _addresses(text) == [("s3://b-1/l", False)]
    assert _addresses(text.replace("kind: Job", "kind: DaemonSet")) == []


@pytest.mark.parametrize("address", ["s3://$(NOWHERE)/llama", "s3://${BUCKET}/llama", "s3://Not_A_Bucket/llama"])
def test_an_address_that_is_not_said_to_the_end_is_told(address: str) -> None:
    found = described(_job(f"{{image: x, command: [get, '{address}']}}"))
    assert found["identities"] == []
    assert found["warnings"] == [f"Job/load: {address} is not said to the end, so no policy covers it"]


def test_static_keys_are_those_of_a_user_and_need_no_role() -> None:
    keys = "env: [{name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: s3, key: id}}}]"
    found = described(_job(f"{{image: x, command: [weights.py, --target, s3://b-1/llama], {keys}}}"))
    [bucket] = found["buckets"]
    assert found["identities"] == []
    assert bucket["readWithStaticKeysBy"] == ["Job/load"]
    assert bucket["staticKeysPermissions"]["Statement"][1]["Action"] == ["s3:GetObject"]
    assert bucket["staticKeysStaging"]["Statement"][0]["Action"] == ["s3:PutObject", "s3:AbortMultipartUpload"]
    assert found["secrets"] == [{"kind": "Secret", "namespace": "llm", "name": "s3", "keys": ["id"]}]


ACCOUNT = """
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: loader
  annotations: {eks.amazonaws.com/role-arn: "%s"}
"""
READER = _job("{image: x, command: [get, s3://b-1/llama]}")


def _identity(text: str, target: Target = TARGET) -> Any:
    [found] = described(text, target)["identities"]
    return found


def test_annotated_service_account_uses_irsa_with_the_role_of_the_annotation() -> None:
    found = _identity(READER + ACCOUNT % "arn:aws:iam::123456789012:role/teams/llm/reader")
    assert (found["mechanism"], found["roleName"], found["broughtByRelease"]) == ("irsa", "reader", True)
    assert "--path /teams/llm/ " in found["commands"][0]
    assert "trust-irsa.json" in found["commands"][0]
    assert not any("pod-identity" in each for each in found["commands"])


def test_other_service_accounts_use_pod_identity_with_a_role_of_their_name() -> None:
    found = _identity(READER)
    assert (found["mechanism"], found["roleName"], found["broughtByRelease"]) == ("podIdentity", "llm-loader", False)
    assert (
        found["commands"][-1]
        == found["podIdentityAssociation"]
        == (
            "aws eks create-pod-identity-association --region eu-central-1 --cluster-name prod"
            " --namespace llm --service-account loader --role-arn arn:aws:iam::123456789012:role/llm-loader"
        )
    )
    assert found["staging"] is None


def test_role_of_another_account_or_none_is_warned_of() -> None:
    [foreign] = described(READER + ACCOUNT % "arn:aws:iam::999999999999:role/reader")["warnings"]
    assert "its role is of account 999999999999, the cluster is in 123456789012" in foreign
    [broken] = described(READER + ACCOUNT % "reader")["warnings"]
    assert "'reader' is no role's ARN" in broken


def test_default_service_account_is_warned_of() -> None:
    [warning] = described(_job("{image: x, command: [get, s3://b-1/llama]}", "restartPolicy: Never"))["warnings"]
    assert "llm/default: its role is that of every pod of the namespace" in warning


def test_staging_by_the_service_account_of_the_engine_is_warned_of() -> None:
    stage = _job("{image: x, command: [weights.py, --target, s3://b-1/llama]}").replace("name: load", "name: stage")
    warnings = described(f"{READER}---{stage}")["warnings"]
    assert any("that of the staging Job and of Job/load" in each for each in warnings)
    assert not any("staging" in each for each in described(stage)["warnings"])


def test_bucket_of_another_region_is_warned_of() -> None:
    text = _job("{image: x, command: [get, s3://b-1/llama], env: [{name: AWS_REGION, value: us-east-1}]}")
    assert any(
        "bucket b-1 is in us-east-1, the cluster in eu-central-1" in each for each in described(text)["warnings"]
    )
    assert not any("bucket" in each for each in described(text, Target())["warnings"])


def test_prefixes_below_another_one_are_left_out() -> None:
    found, _ = object_storage.accesses(
        release(
            _job("{image: x, command: [get, s3://b/llama/v1, s3://b-1/llama/v1, s3://b-1/llama, s3://b-1/llama-2]}")
        )
    )
    assert identities.prefixes_by_bucket(found) == {"b-1": ["llama", "llama-2"]}
