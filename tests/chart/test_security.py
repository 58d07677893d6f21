"""Identity and network of the pods."""

from __future__ import annotations

from typing import Any

from chartproof.release import Release, selector_matches
from tests.chart.conftest import Render, Values

G6E: Values = {"nodes": {"instanceTypes": ["g6e.2xlarge"]}}
CLOSED: Values = {"security": {"networkPolicy": {"enabled": True, "clientNamespaces": ["apps", "gateway"]}}}
S3: Values = {
    "weights": {"source": {"type": "s3", "s3": {"uri": "s3://bucket/model", "region": "eu-west-1"}}},
    "aws": {"identity": "podIdentity"},
}
MONITORED: Values = {"observability": {"monitoring": "podMonitor"}}


def policies(release: Release) -> dict[str, dict[str, Any]]:
    return {each.name: each.get("spec") for each in release.of_kind("NetworkPolicy")}


def open_ports(spec: dict[str, Any]) -> set[int]:
    return {port["port"] for rule in spec["egress"] for port in rule["ports"]}


def namespaces(spec: dict[str, Any]) -> list[str]:
    (rule,) = spec["ingress"]
    return [
        each["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for each in rule["from"]
        if "namespaceSelector" in each
    ]


def test_account_gives_no_access_to_the_kubernetes_api(render: Render) -> None:
    (account,) = render(G6E).of_kind("ServiceAccount")
    assert account.body["automountServiceAccountToken"] is False
    assert "annotations" not in account.body["metadata"]


def test_irsa_needs_an_annotation_and_pod_identity_none(render: Render) -> None:
    role = "arn:aws:iam::123456789012:role/weights"
    (account,) = render(G6E, {"aws": {"identity": "irsa", "roleArn": role}}).of_kind("ServiceAccount")
    assert account.get("metadata", "annotations") == {"eks.amazonaws.com/role-arn": role}
    (account,) = render(G6E, {"aws": {"identity": "podIdentity"}}).of_kind("ServiceAccount")
    assert "annotations" not in account.body["metadata"]


def test_existing_account_is_used(render: Render) -> None:
    release = render(G6E, {"serviceAccount": {"create": False, "name": "mine"}})
    assert not list(release.of_kind("ServiceAccount"))
    (deployment,) = release.of_kind("Deployment")
    assert deployment.get("spec", "template", "spec", "serviceAccountName") == "mine"


def test_only_clients_and_scraper_reach_the_engine(render: Render) -> None:
    ((_, spec),) = policies(render(G6E, CLOSED, MONITORED)).items()
    assert namespaces(spec) == ["apps", "gateway", "monitoring"]
    assert spec["ingress"][0]["ports"] == [{"port": 8000, "protocol": "TCP"}]
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_scraper_is_let_in_only_where_it_scrapes(render: Render) -> None:
    ((_, spec),) = policies(render(G6E, CLOSED)).items()
    assert namespaces(spec) == ["apps", "gateway"]


def test_engine_that_fetches_reaches_names_buckets_and_credentials(render: Render) -> None:
    ((_, spec),) = policies(render(G6E, CLOSED, S3)).items()
    assert open_ports(spec) == {53, 443, 80}
    agent = [rule for rule in spec["egress"] if rule["ports"][0]["port"] == 80]
    assert {"ipBlock": {"cidr": "169.254.170.23/32"}} in agent[0]["to"]


def test_only_named_ranges_are_reached(render: Render) -> None:
    cidrs = {"security": {"networkPolicy": {"egressCidrs": ["10.1.0.0/16", "52.218.0.0/17"]}}}
    ((_, spec),) = policies(render(G6E, CLOSED, S3, cidrs)).items()
    (rule,) = [each for each in spec["egress"] if each["ports"][0]["port"] == 443]
    assert rule["to"] == [{"ipBlock": {"cidr": "10.1.0.0/16"}}, {"ipBlock": {"cidr": "52.218.0.0/17"}}]


def test_port_of_a_store_in_the_cluster_is_open(render: Render) -> None:
    store = {"source": {"s3": {"endpointUrl": "http://minio.storage.svc:9000", "existingSecret": "minio"}}}
    ((_, spec),) = policies(render(G6E, CLOSED, S3, {"weights": store, "aws": {"identity": "none"}})).items()
    assert 9000 in open_ports(spec)
    assert any(rule["to"] == [{"namespaceSelector": {}}] for rule in spec["egress"])


def test_engine_that_fetches_nothing_calls_nobody(render: Render) -> None:
    found = policies(render(G6E, CLOSED, {"weights": {"delivery": "volume"}}))
    engine, job = found["llm-llm-inference"], found["llm-llm-inference-weights"]
    assert engine["egress"] == []
    assert job["ingress"] == []
    assert open_ports(job) == {53, 443}


def test_every_policy_selects_its_own_pods(render: Render) -> None:
    release = render(G6E, CLOSED, {"weights": {"delivery": "volume"}})
    pods = [each.pod_template.labels for each in release.workloads if each.pod_template]
    for name, spec in policies(release).items():
        assert sum(selector_matches(spec["podSelector"], labels) for labels in pods) == 1, name


def test_open_release_has_no_policy(render: Render) -> None:
    assert not policies(render(G6E))
