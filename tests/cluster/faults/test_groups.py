"""Replicas over several nodes: the real controllers of LeaderWorkerSets, KEDA and Karpenter, from zero and back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from chartproof.cluster.machines.groups import GROUP_LABEL, INDEX_LABEL
from chartproof.cluster.placement import ZONE
from chartproof.release import dig
from tests.cluster.faults.watched import ENOUGH, Inject, injector

if TYPE_CHECKING:
    from tests.cluster.faults.rig import Rig, Served

pytestmark = pytest.mark.slow

GROUPS, SIZE = 2, 2
BURST = 100
"""Requests that arrive at once while there is no group."""


@pytest.fixture(scope="module")
def groups(rig: Rig) -> Served:
    """A model whose replica takes two nodes, at rest."""
    from tests.cluster.faults.rig import HERE, REPOSITORY  # noqa: PLC0415  (only where it is used)

    preset = REPOSITORY / "values" / "llama-3.3-70b-awq-g6e-12xlarge.yaml"
    return rig.serve("groups", HERE / "groups.yaml", preset=preset, replicas=GROUPS)


@pytest.fixture
def inject(rig: Rig, groups: Served) -> Inject:
    """A block in which a fault of the table is injected and mended; afterwards everything must be well by itself."""
    return injector(rig, groups)


def _by_group(rig: Rig, served: Served) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The pods of a model by their group and their index in it."""
    found: defaultdict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for each in rig.pods(served):
        labels = each["metadata"]["labels"]
        found[labels[GROUP_LABEL]][labels[INDEX_LABEL]] = each
    return dict(found)


def _targets(rig: Rig, served: Served, which: str = "") -> set[str]:
    """The pods of a model that Prometheus scrapes, or those of them whose `up` is so."""
    found = rig.query(f'up{{namespace="{rig.namespace}",pod=~"{served.workload}-.*"}} {which}')
    return {each["metric"]["pod"] for each in found}


def _identities(pods: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {index: each["metadata"]["uid"] for index, each in pods.items()}


def test_requests_wake_groups_from_zero_and_none_is_lost(rig: Rig, groups: Served) -> None:
    rig.until(lambda: groups.now.replicas == 0 and not rig.pods(groups), "it rests at zero")
    assert rig.nodes() == []
    rig.burst(groups, BURST)
    rig.load(groups, groups.usual)
    rig.until(lambda: (groups.now.ready or 0) >= GROUPS, "two groups serve", 240)
    pods = _by_group(rig, groups)
    assert {tuple(sorted(each)) for each in pods.values()} == {("0", "1")}
    nodes = {each["metadata"]["name"]: each["metadata"]["labels"] for each in rig.nodes()}
    places = {name: [nodes[each["spec"]["nodeName"]] for each in group.values()] for name, group in pods.items()}
    for found in places.values():
        assert len({each["kubernetes.io/hostname"] for each in found}) == SIZE
        assert len({each[ZONE] for each in found}) == 1
    # Only leaders are asked: by clients, and by Prometheus.
    leaders = {group["0"]["metadata"]["name"] for group in pods.values()}
    assert {each["pod"] for each in rig.engines() if each["namespace"] == rig.namespace} == leaders
    # A replica is ready before its first scrape.
    rig.until(lambda: _targets(rig, groups, "== 1") == leaders, "the leaders are scraped")
    assert _targets(rig, groups) == leaders
    rig.until(lambda: groups.served(0) >= BURST, "the first requests are answered", 240)
    assert groups.lost(0) == []


def test_group_controller_killed(rig: Rig, groups: Served, inject: Inject) -> None:
    before = {name: _identities(each) for name, each in _by_group(rig, groups).items()}
    with inject("group-controller-killed") as fault:
        rig.kill("lws-controller")
        fault.lasts(60)
    after = {name: _identities(each) for name, each in _by_group(rig, groups).items()}
    assert before.items() <= after.items()
    fault.lost_nothing()


def test_group_worker_killed(rig: Rig, groups: Served, inject: Inject) -> None:
    before = _by_group(rig, groups)
    hit, *others = sorted(before)
    with inject("group-worker-killed") as fault:
        rig.control(f"pods/{rig.namespace}/{before[hit]['1']['metadata']['name']}/kill")

        def is_new() -> bool:
            now = _identities(_by_group(rig, groups).get(hit, {}))
            return len(now) == SIZE and not now.items() & _identities(before[hit]).items()

        rig.until(is_new, "the group is made anew")
    after = _by_group(rig, groups)
    for each in others:
        assert _identities(after[each]) == _identities(before[each])
        assert {rig.restarts(pod) for pod in after[each].values()} == {0}
    lost = groups.lost(fault.since)
    # Those of its leader were cut together, when that was killed at the end of its grace period.
    assert {each.outcome for each in lost} <= {"aborted"}
    ends = [each.done or 0.0 for each in lost]
    assert max(ends, default=0.0) - min(ends, default=0.0) <= rig.speed.simulated(1.0), "others than its leader's"
    assert groups.served(fault.since) >= ENOUGH


def test_quiet_takes_groups_back_to_zero_and_leaves_nothing(rig: Rig, groups: Served) -> None:
    since = rig.now()
    rig.load(groups, 0)
    rig.until(lambda: groups.now.replicas == 0, lambda: f"no group is wanted: {rig.tell(groups)}", 240)
    rig.until(lambda: rig.cluster.api.list("v1", "Pod", rig.namespace) == [], "no pod is left")
    rig.until(lambda: rig.nodes() == [], "no node is left", 240)
    assert groups.lost(since) == []

    def sets() -> list[tuple[str, int]]:
        found = rig.cluster.api.list("apps/v1", "StatefulSet", rig.namespace)
        return [(each["metadata"]["name"], dig(each, "spec", "replicas")) for each in found]

    rig.until(lambda: sets() == [(groups.workload, 0)], "only the set of the leaders is left")
