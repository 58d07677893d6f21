from __future__ import annotations

from typing import Any

import pytest

from tests.aws.releases import described

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


def _pod(image: str) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: engine}}
spec:
  containers: [{{name: main, image: "{image}", command: [run]}}]
"""


def _images(image: str) -> Any:
    return described(_pod(image))["images"]


@pytest.mark.parametrize(
    ("image", "prefix", "upstream", "secret"),
    [
        (f"{ECR}/docker-hub/vllm/vllm-openai:v1", "docker-hub", "docker.io", "ecr-pullthroughcache/docker-hub"),
        (f"{ECR}/mirror/lmsysorg/sglang@sha256:0", "mirror", "docker.io", "ecr-pullthroughcache/mirror"),
        (f"{ECR}/quay/prometheus/prometheus:v3", "quay", "quay.io", None),
        (f"{ECR}/cache/ghcr/a/b:1", "cache/ghcr", "ghcr.io", "ecr-pullthroughcache/cache/ghcr"),
        (f"{ECR}/kubernetes/pause:3", "kubernetes", "registry.k8s.io", None),
    ],
)
def test_image_behind_a_prefix_needs_a_rule(image: str, prefix: str, upstream: str, secret: str | None) -> None:
    found = _images(image)
    [cache] = found["pullThroughCaches"]
    assert (cache["prefix"], cache["upstream"], cache["credentialSecret"]) == (prefix, upstream, secret)
    assert cache["account"] == "123456789012"
    assert f"--ecr-repository-prefix {prefix} --upstream-registry-url {cache['upstreamUrl']}" in cache["commands"][-1]
    assert ("--credential-arn" in cache["commands"][-1]) == (secret is not None) == (len(cache["commands"]) == 2)
    [statement] = cache["nodePolicy"]["Statement"]
    assert statement["Resource"] == [f"arn:aws:ecr:eu-central-1:123456789012:repository/{prefix}/*"]
    assert found["pulledDirectly"] == found["repositories"] == []


def test_docker_hub_is_asked_at_its_registry() -> None:
    assert _images(f"{ECR}/docker-hub/vllm/vllm-openai:v1")["pullThroughCaches"][0]["upstreamUrl"] == (
        "registry-1.docker.io"
    )


def test_nvidias_registry_cannot_be_cached() -> None:
    found = described(_pod(f"{ECR}/nvcr/nvidia/k8s/dcgm-exporter:4"))
    assert found["images"]["pullThroughCaches"] == []
    assert found["images"]["repositories"] == [f"{ECR}/nvcr/nvidia/k8s/dcgm-exporter:4"]
    assert any("no pull-through cache for nvcr.io" in each for each in found["warnings"])


def test_a_prefix_that_ecr_refuses_is_warned_of() -> None:
    prefix = "a-very-long-prefix-of-our-platform-team"
    [warning] = described(_pod(f"{ECR}/{prefix}/vllm/vllm-openai:v1"))["warnings"]
    assert f"refuses the prefix '{prefix}'" in warning


def test_image_of_a_repository_of_its_own_must_be_there() -> None:
    assert _images(f"{ECR}/team/engine:v1")["repositories"] == [f"{ECR}/team/engine:v1"]


@pytest.mark.parametrize(
    ("image", "registry", "possible", "credential"),
    [
        ("vllm/vllm-openai:v1", "docker.io", True, True),
        ("python:3.12", "docker.io", True, True),
        ("quay.io/a/b:1", "quay.io", True, False),
        ("nvcr.io/nvidia/k8s/dcgm-exporter:4", "nvcr.io", False, False),
        ("registry.example.com:5000/a/b:1", "registry.example.com:5000", False, False),
    ],
)
def test_images_of_public_registries_need_the_internet(
    image: str, registry: str, possible: bool, credential: bool
) -> None:
    found = described(_pod(image))
    assert found["images"]["pulledDirectly"] == [
        {"registry": registry, "images": [image], "pullThroughPossible": possible, "credentialNeeded": credential}
    ]
    assert found["internet"] == [{"host": registry, "reasons": [f"nodes pull {image}"]}]
    assert found["endpoints"] == []


def test_registry_of_another_account_or_region_is_warned_of() -> None:
    warnings = described(_pod("999999999999.dkr.ecr.us-east-1.amazonaws.com/team/engine:v1"))["warnings"]
    assert warnings == [
        "images come from the registry of account 999999999999: its policies must admit the nodes",
        "images come from us-east-1, the cluster is in eu-central-1: pulls are slow and paid for",
    ]


def test_images_in_ecr_need_its_endpoints_and_that_of_s3() -> None:
    assert {each["service"]: each["type"] for each in described(_pod(f"{ECR}/team/engine:v1"))["endpoints"]} == {
        "com.amazonaws.eu-central-1.ecr.api": "Interface",
        "com.amazonaws.eu-central-1.ecr.dkr": "Interface",
        "com.amazonaws.eu-central-1.s3": "Gateway",
    }


READER = """
apiVersion: v1
kind: Pod
metadata: {name: engine, labels: {app: engine}}
spec:
  serviceAccountName: engine
  containers: [{name: main, image: quay.io/a/b, command: [get, s3://weights/llama]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: engine, annotations: {%s}}
"""
POLICY = """
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed}
spec:
  podSelector: {matchLabels: {app: engine}}
  policyTypes: [Egress]
  egress: [%s]
"""
IRSA = "eks.amazonaws.com/role-arn: 'arn:aws:iam::123456789012:role/reader'"
DNS = "{ports: [{port: 53, protocol: UDP}]}"
WORLD = "{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: 443}]}"
VPC = "{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: 443}]}"
WITHOUT_S3 = "{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [52.216.0.0/15]}}], ports: [{port: 443}]}"
AGENT = "{to: [{ipBlock: {cidr: 169.254.170.23/32}}], ports: [{port: 80}]}"


def test_identity_decides_about_the_endpoint_for_credentials() -> None:
    def services(annotation: str) -> set[str]:
        return {each["service"].rpartition(".")[2] for each in described(READER % annotation)["endpoints"]}

    assert services("") == {"s3", "eks-auth"}
    assert services(IRSA) == {"s3", "sts"}


@pytest.mark.parametrize(
    ("annotation", "egress", "blocked"),
    [
        ("", [DNS, WORLD, AGENT], []),
        ("", [DNS, WORLD], ["the Pod Identity Agent"]),
        ("", [WORLD, AGENT], ["DNS on port 53"]),
        ("", [DNS, VPC, AGENT], ["S3 on TCP 443"]),
        ("", [DNS, WITHOUT_S3, AGENT], ["S3 on TCP 443"]),
        ("", [], ["DNS on port 53", "S3 on TCP 443", "the Pod Identity Agent"]),
        ("", ["{}"], []),
        (IRSA, [DNS, WORLD], []),
        (IRSA, [DNS, VPC], ["S3 and STS on TCP 443"]),
    ],
)
def test_egress_that_keeps_pods_from_aws_is_said(annotation: str, egress: list[str], blocked: list[str]) -> None:
    found = described(READER % annotation + POLICY % ", ".join(egress))["egress"]
    assert [each["workload"] for each in found] == ["Pod/engine"] * len(blocked)
    for each, beginning in zip(found, blocked, strict=True):
        assert each["blocks"].startswith(beginning)
        assert each["policies"] == ["closed"]


def test_what_a_narrow_policy_admits_is_named() -> None:
    [found] = described(READER % IRSA + POLICY % f"{DNS}, {VPC}")["egress"]
    assert found["admits"] == ["10.0.0.0/8"]


def test_policies_of_other_pods_and_of_ingress_do_not_matter() -> None:
    closed = READER % "" + POLICY % ""
    assert described(closed.replace("matchLabels: {app: engine}", "matchLabels: {app: other}"))["egress"] == []
    assert described(closed.replace("[Egress]", "[Ingress]").replace("  egress: []", ""))["egress"] == []


def test_weights_of_the_hub_need_the_internet() -> None:
    found = described(READER.replace("s3://weights/llama", "'hf://a/b'") % "")
    assert found["internet"][-1] == {"host": "huggingface.co", "reasons": ["Pod/engine fetches weights"]}
