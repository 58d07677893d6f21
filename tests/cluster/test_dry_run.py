from __future__ import annotations

from typing import Any

import pytest
import yaml

from chartproof import cluster, helm
from chartproof.cluster import Cluster
from chartproof.release import Document, Release
from tests import presets

pytestmark = pytest.mark.cluster

NODE_POOL = """
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: gpu}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: gpu}
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
"""


def _release(*bodies: dict[str, Any]) -> Release:
    return Release("test", tuple(Document(each) for each in bodies), namespace="dry-run")


def _pool(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = yaml.safe_load(NODE_POOL)
    body["spec"] |= changes
    return body


@pytest.mark.parametrize("stem", presets.STEMS)
def test_the_api_server_accepts_every_document_of_every_preset(embedded_cluster: Cluster, stem: str) -> None:
    release = presets.render(stem)
    assert release.documents
    assert cluster.dry_run(embedded_cluster, release) == []


def test_nothing_of_a_dry_run_stays(embedded_cluster: Cluster) -> None:
    assert cluster.dry_run(embedded_cluster, _release(_pool())) == []
    assert embedded_cluster.api.find("karpenter.sh/v1", "NodePool", "gpu") is None


def test_rules_in_the_definitions_are_enforced(embedded_cluster: Cluster) -> None:
    weight = _pool(weight=1000)
    reserved = _pool()
    reserved["spec"]["template"]["spec"]["requirements"][0]["key"] = "karpenter.sh/nodepool"
    refusals = cluster.dry_run(embedded_cluster, _release(weight, _pool(), reserved))
    assert [each.object for each in refusals] == ["NodePool/gpu", "NodePool/gpu"]
    assert "spec.weight" in refusals[0].message
    assert "restricted" in refusals[1].message  # a CEL rule, which no JSON schema can carry


def test_an_unknown_field_is_refused(embedded_cluster: Cluster) -> None:
    [refusal] = cluster.dry_run(embedded_cluster, _release(_pool(limit={"cpu": 1})))
    assert "limit" in refusal.message


def test_a_kind_that_the_server_does_not_know_is_refused(embedded_cluster: Cluster) -> None:
    [refusal] = cluster.dry_run(
        embedded_cluster, _release({"apiVersion": "keda.sh/v2", "kind": "ScaledObject", "metadata": {"name": "a"}})
    )
    assert str(refusal) == 'ScaledObject/a: no matches for kind "ScaledObject" in version "keda.sh/v2"'


def test_documents_land_in_the_namespace_of_the_release(embedded_cluster: Cluster) -> None:
    rendering = helm.Rendering(presets.CHART, "x", "x", (presets.path_of(presets.STEMS[0]),), namespace="elsewhere")
    assert cluster.dry_run(embedded_cluster, helm.render(rendering)) == []
    assert embedded_cluster.api.find("v1", "Namespace", "elsewhere")


def test_a_pod_whose_account_is_of_the_release_is_taken_and_nothing_is_kept(embedded_cluster: Cluster) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "check"}}
    containers = [{"name": "check", "image": "registry.example/check:1"}]
    spec = {"serviceAccountName": "check", "containers": containers}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "check"}, "spec": spec}
    release = _release(account, pod)
    assert cluster.dry_run(embedded_cluster, release) == []
    where = release.namespace_of(release.documents[0])
    assert embedded_cluster.api.find("v1", "ServiceAccount", "check", where) is None
    [refusal] = cluster.dry_run(embedded_cluster, _release(pod))
    assert "not found" in refusal.message
