"""The schemas stand for an API server: here a real one says whether they are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chartproof.cluster import Cluster
from chartproof.cluster.api import ApiError

if TYPE_CHECKING:
    from tests.schema.conftest import Spoiled

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

Refusal = Callable[[dict[str, Any]], str]

HERE = Path(__file__).parent
LOCK = yaml.safe_load((HERE.parents[1] / "schemas/sources.lock.yaml").read_text(encoding="utf-8"))
STRICTER = yaml.safe_load((HERE / "stricter_than_server.yaml").read_text(encoding="utf-8"))
#: Groups whose definitions the embedded server has, besides Kubernetes' own.
OPERATORS = {"karpenter.k8s.aws", "karpenter.sh", "keda.sh", "monitoring.coreos.com"}


@pytest.fixture(scope="module")
def refusal(embedded_cluster: Cluster) -> Refusal:
    """What the server says to a dry run with strict field validation; empty where it accepts."""
    api = embedded_cluster.api

    def refused(body: dict[str, Any]) -> str:
        metadata = body.get("metadata")
        namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
        resource = api.resource(body["apiVersion"], body["kind"])
        path = resource.path(namespace if isinstance(namespace, str) else "default")
        try:
            api.request("POST", path, parameters={"dryRun": "All", "fieldValidation": "Strict"}, body=body)
        except ApiError as error:
            return error.what
        return ""

    return refused


@pytest.fixture(scope="module")
def served(embedded_cluster: Cluster, instances: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    known = embedded_cluster.api.resources
    return {name: body for name, body in instances.items() if (body["apiVersion"], body["kind"]) in known}


def test_the_server_serves_every_kind_of_kubernetes_and_of_the_operators(served: dict[str, dict[str, Any]]) -> None:
    own = {
        path.removeprefix("schemas/").removesuffix(".json")
        for path, entry in LOCK["outputs"].items()
        if entry["from"].startswith("k8s.io/kubernetes ")
    }
    assert own <= served.keys()
    assert {name.partition("/")[0] for name in served} >= OPERATORS


def test_the_server_accepts_every_good_instance(refusal: Refusal, served: dict[str, dict[str, Any]]) -> None:
    said = {name: refusal(body) for name, body in served.items()}
    assert {name: message for name, message in said.items() if message} == {}


def test_the_server_refuses_every_spoiled_instance_but_the_known_ones(
    refusal: Refusal, served: dict[str, dict[str, Any]], spoiled: list[Spoiled]
) -> None:
    accepted: dict[str, set[str]] = {}
    for each in spoiled:
        judged = each.schema in served and each.path not in {("apiVersion",), ("kind",)}
        if judged and not refusal(each.body):
            accepted.setdefault(each.schema, set()).add(".".join(map(str, each.path)))
    assert {name: sorted(paths) for name, paths in accepted.items()} == STRICTER


def test_the_server_means_what_the_schemas_mean(
    refusal: Refusal, served: dict[str, dict[str, Any]], changes: dict[str, dict[str, Any]]
) -> None:
    judged = {case: change for case, change in changes.items() if change["schema"] in served}
    agrees = {case: (not refusal(change["body"])) is change["accepted"] for case, change in judged.items()}
    assert {case for case, same in agrees.items() if not same} == {case for case in judged if "server" in judged[case]}


def test_server_side_apply_refuses_the_repeated_items_that_the_schemas_refuse(
    embedded_cluster: Cluster, repetitions: dict[str, dict[str, Any]]
) -> None:
    said: dict[str, bool] = {}
    for case, change in repetitions.items():
        try:
            embedded_cluster.api.apply(change["body"], dry_run=True)
            said[case] = False
        except ApiError as error:
            said[case] = "duplicate entries for key" in error.what
    assert said == {case: bool(change["repeated"]) for case, change in repetitions.items()}
