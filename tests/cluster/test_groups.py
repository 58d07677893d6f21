"""Groups of pods on a light cluster: the real controller makes them, and its webhooks judge."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chartproof.cluster import Cluster
from chartproof.cluster.api import ApiError
from chartproof.release import dig

pytestmark = pytest.mark.cluster

NAMESPACE = "groups"
API_VERSION, KIND = "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"
PREFIX = "leaderworkerset.sigs.k8s.io"


def _set(name: str = "pair", replicas: int = 2, size: int = 2) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "engine", "image": "example.com/engine:1"}]}}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "replicas": replicas,
            "leaderWorkerTemplate": {
                "size": size,
                "leaderTemplate": copy.deepcopy(template),
                "workerTemplate": copy.deepcopy(template),
            },
        },
    }


@pytest.fixture
def cluster(embedded_cluster: Cluster) -> Iterator[Cluster]:
    api = embedded_cluster.api
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield embedded_cluster
    for each in api.list(API_VERSION, KIND, NAMESPACE):
        api.delete(API_VERSION, KIND, each["metadata"]["name"], NAMESPACE)
    _until(lambda: not api.list("v1", "Pod", NAMESPACE))


def _until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


def _ready(cluster: Cluster, name: str = "pair") -> int:
    return int(dig(cluster.api.find(API_VERSION, KIND, name, NAMESPACE), "status", "readyReplicas", default=0))


def test_groups_come_and_go_by_the_scale(cluster: Cluster) -> None:
    api = cluster.api
    api.create(_set())
    _until(lambda: _ready(cluster) == 2)
    pods = {each["metadata"]["name"]: each for each in api.list("v1", "Pod", NAMESPACE)}
    assert sorted(pods) == ["pair-0", "pair-0-1", "pair-1", "pair-1-1"]
    labels = pods["pair-1-1"]["metadata"]["labels"]
    assert (labels[f"{PREFIX}/group-index"], labels[f"{PREFIX}/worker-index"]) == ("1", "1")
    environment = {each["name"]: each.get("value") for each in pods["pair-1-1"]["spec"]["containers"][0]["env"]}
    assert environment["LWS_LEADER_ADDRESS"] == "pair-1.pair.groups"
    assert (environment["LWS_GROUP_SIZE"], environment["LWS_WORKER_INDEX"]) == ("2", "1")
    # What an autoscaler reads and writes: groups, counted by their leaders.
    path = f"{api.resource(API_VERSION, KIND).path(NAMESPACE, 'pair')}/scale"
    scale = api.get(path)
    assert scale["status"]["replicas"] == 2
    assert f"{PREFIX}/worker-index=0" in scale["status"]["selector"]
    api.patch(path, {"spec": {"replicas": 0}})
    _until(lambda: not api.list("v1", "Pod", NAMESPACE))
    assert [each["metadata"]["name"] for each in api.list("apps/v1", "StatefulSet", NAMESPACE)] == ["pair"]


def test_a_lost_worker_takes_its_group_along_and_leaves_the_other_alone(cluster: Cluster) -> None:
    api = cluster.api
    api.create(_set())
    _until(lambda: _ready(cluster) == 2)
    before = {each["metadata"]["name"]: each["metadata"]["uid"] for each in api.list("v1", "Pod", NAMESPACE)}
    worker = api.resource("v1", "Pod").path(NAMESPACE, "pair-1-1")
    # A pod takes a while to end, and the controller looks for pods that are ending; kwok's are gone at once.
    api.patch(worker, {"metadata": {"finalizers": ["chartproof.io/ending"]}})
    api.delete("v1", "Pod", "pair-1-1", NAMESPACE)

    def renewed() -> set[str]:
        now = {each["metadata"]["name"]: each["metadata"]["uid"] for each in api.list("v1", "Pod", NAMESPACE)}
        return {name for name, uid in now.items() if before[name] != uid}

    def is_leader_ending() -> bool:
        leader = api.find("v1", "Pod", "pair-1", NAMESPACE)
        return leader is None or "deletionTimestamp" in leader["metadata"] or "pair-1" in renewed()

    _until(is_leader_ending)
    api.patch(worker, {"metadata": {"finalizers": None}})
    _until(lambda: renewed() == {"pair-1", "pair-1-1"} and _ready(cluster) == 2)


def test_the_webhooks_refuse_what_the_definition_lets_pass(cluster: Cluster) -> None:
    with pytest.raises(ApiError, match=r"metadata\.name"):
        cluster.api.apply(_set("4-bit"), dry_run=True)
    standstill = _set()
    standstill["spec"]["rolloutStrategy"] = {
        "type": "RollingUpdate",
        "rollingUpdateConfiguration": {"maxUnavailable": 0, "maxSurge": 0},
    }
    with pytest.raises(ApiError, match="must not be 0 when `maxSurge` is 0"):
        cluster.api.apply(standstill, dry_run=True)
