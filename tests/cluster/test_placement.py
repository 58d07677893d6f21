from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chartproof.catalog import catalog
from chartproof.cluster import placement
from chartproof.cluster.placement import CAPACITY_TYPE, NoPlacement, Placement, Pool, Resources

ZONES = ("us-east-1a", "us-east-1b")
TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}


def _pod(**spec: Any) -> dict[str, Any]:
    resources = spec.pop("resources", {"limits": {"nvidia.com/gpu": 1}})
    tolerations = spec.pop("tolerations", [{"key": "nvidia.com/gpu", "operator": "Exists"}])
    return {"containers": [{"resources": resources}], "tolerations": tolerations, **spec}


def _pool(
    name: str = "gpu",
    *,
    types: tuple[str, ...] = ("g6.xlarge", "g5.xlarge"),
    used: Resources = Resources(),  # noqa: B008 - frozen
    requirements: tuple[dict[str, Any], ...] = (),
    zone_nodes: dict[str, int] | None = None,
    **spec: Any,
) -> Pool:
    wanted = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": list(types)}
    template = {
        "metadata": {"labels": {"example.com/pool": name}},
        "spec": {"taints": [TAINT], "requirements": [wanted, *requirements]},
    }
    body = {"metadata": {"name": name}, "spec": {"template": template, **spec}}
    return Pool(body, used, zone_nodes or {})


def _place(pod: dict[str, Any], *pools: Pool, daemons: tuple[dict[str, Any], ...] = ()) -> Placement | NoPlacement:
    return placement.place(pod, pools, catalog().instances.values(), daemons=daemons, zones=ZONES)


def _placed(*arguments: Any, **keywords: Any) -> Placement:
    found = _place(*arguments, **keywords)
    assert isinstance(found, Placement), found
    return found


def _reason(*arguments: Any, **keywords: Any) -> str:
    found = _place(*arguments, **keywords)
    assert isinstance(found, NoPlacement), found
    return str(found)


def test_the_cheapest_type_that_pool_and_pod_allow_wins() -> None:
    assert _placed(_pod(), _pool()).instance.name == "g6.xlarge"  # $0.80 against $1.01
    only_a10g = {"karpenter.k8s.aws/instance-gpu-name": "a10g"}
    assert _placed(_pod(nodeSelector=only_a10g), _pool()).instance.name == "g5.xlarge"


def test_the_heaviest_pool_is_tried_first() -> None:
    pools = _pool("light", weight=10), _pool("heavy", weight=50, types=("g5.xlarge",))
    assert _placed(_pod(), *pools).pool == "heavy"


def test_a_full_pool_gives_way_to_the_next() -> None:
    full = _pool("full", weight=50, limits={"nvidia.com/gpu": 2}, used=Resources(gpus=2))
    assert _placed(_pod(), full, _pool("other")).pool == "other"
    assert "limits" in _reason(_pod(), full)


def test_limits_count_the_whole_machine_and_not_the_pod() -> None:
    pool = _pool(types=("g6.12xlarge",), limits={"nvidia.com/gpu": 3})
    assert "limits" in _reason(_pod(), pool)


def test_an_untolerated_taint_is_named() -> None:
    assert "nvidia.com/gpu=true:NoSchedule" in _reason(_pod(tolerations=[]), _pool())


def test_a_toleration_of_another_value_does_not_tolerate() -> None:
    present = [{"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}]
    assert "taint" in _reason(_pod(tolerations=present), _pool())


def test_a_pod_larger_than_what_is_allocatable_gets_no_node() -> None:
    # 4 vCPU and 16 GiB by name, 3.92 and 13.8 to pods.
    too_much = {"requests": {"cpu": "4"}, "limits": {"nvidia.com/gpu": 1}}
    assert "4000m CPU" in _reason(_pod(resources=too_much), _pool())


def test_the_pods_of_daemon_sets_take_their_part() -> None:
    pod = _pod(resources={"requests": {"cpu": "3800m"}, "limits": {"nvidia.com/gpu": 1}})
    daemon = _pod(resources={"requests": {"cpu": "200m"}}, tolerations=[{"operator": "Exists"}])
    assert _placed(pod, _pool()).instance.name == "g6.xlarge"
    assert "DaemonSets" in _reason(pod, _pool(), daemons=(daemon,))


def test_a_daemon_set_that_does_not_come_takes_nothing() -> None:
    pod = _pod(resources={"requests": {"cpu": "3800m"}, "limits": {"nvidia.com/gpu": 1}})
    stranger = _pod(resources={"requests": {"cpu": "2"}}, tolerations=[])
    assert _placed(pod, _pool(), daemons=(stranger,)).instance.name == "g6.xlarge"


def test_spot_is_preferred_where_a_pool_allows_both() -> None:
    assert _placed(_pod(), _pool()).capacity_type == "spot"
    on_demand = {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}
    assert _placed(_pod(), _pool(requirements=(on_demand,))).capacity_type == "on-demand"


def test_reserved_capacity_comes_first_and_only_where_the_node_class_selects_some() -> None:
    pool = _pool()
    reserving = replace(pool, reservations=True)
    assert _placed(_pod(), reserving).capacity_type == "reserved"
    only = _pool(requirements=({"key": CAPACITY_TYPE, "operator": "In", "values": ["reserved"]},))
    assert _placed(_pod(), replace(only, reservations=True)).labels[CAPACITY_TYPE] == "reserved"
    assert "allow no instance type" in _reason(_pod(), only)


def test_a_static_pool_comes_before_others_and_has_no_more_nodes_than_it_says() -> None:
    static = _pool("static", replicas=2, limits={"nodes": 3})
    other = _pool("other", weight=100)
    assert _placed(_pod(), other, static).pool == "static"
    full = _pool("static", replicas=2, limits={"nodes": 3}, zone_nodes={"us-east-1a": 2})
    assert _placed(_pod(), other, full).pool == "other"
    assert "leave no room" in _reason(_pod(), full)


def test_nodes_spread_over_the_zones_of_the_pool() -> None:
    assert _placed(_pod(), _pool(zone_nodes={"us-east-1a": 1})).zone == "us-east-1b"
    zones = {"key": placement.ZONE, "operator": "In", "values": ["eu-central-1c"]}
    found = _placed(_pod(), _pool(requirements=(zones,)))
    assert found.labels["topology.kubernetes.io/region"] == "eu-central-1"


def test_a_label_that_no_pool_has_is_not_invented() -> None:
    assert "node selector" in _reason(_pod(nodeSelector={"example.com/pool": "other"}), _pool())


def test_a_label_that_the_pool_offers_is_set_to_what_the_pod_asks() -> None:
    team = {"key": "example.com/team", "operator": "In", "values": ["a", "b"]}
    found = _placed(_pod(nodeSelector={"example.com/team": "b"}), _pool(requirements=(team,)))
    assert found.labels["example.com/team"] == "b"


def test_alternatives_of_node_affinity_are_any_of() -> None:
    def term(gpu: str) -> dict[str, Any]:
        key = "karpenter.k8s.aws/instance-gpu-name"
        return {"matchExpressions": [{"key": key, "operator": "In", "values": [gpu]}]}

    def affinity(*gpus: str) -> dict[str, Any]:
        required = {"nodeSelectorTerms": [term(gpu) for gpu in gpus]}
        return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}

    assert _placed(_pod(affinity=affinity("h100", "a10g")), _pool()).instance.name == "g5.xlarge"
    assert "match none" in _reason(_pod(affinity=affinity("h100")), _pool())


def test_requirements_that_no_type_meets_are_told_apart_from_pods_that_do_not_match() -> None:
    assert "no instance type" in _reason(_pod(), _pool(types=("g99.xlarge",)))


def test_adapters_between_machines_are_counted() -> None:
    wanted = {"limits": {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 4}}
    pool = _pool(types=("g6.48xlarge", "g6e.48xlarge"))
    assert _placed(_pod(resources=wanted), pool).instance.name == "g6e.48xlarge"
    too_many = {"limits": {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 5}}
    assert "5 EFA" in _reason(_pod(resources=too_many), pool)


def _company(key: str, node: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"group": key}}, "spec": {"nodeName": node}}


def _beside(*pods: dict[str, Any], topology: str = placement.ZONE) -> set[str]:
    selector = {"matchExpressions": [{"key": "group", "operator": "In", "values": ["one"]}]}
    terms = [{"topologyKey": placement.ZONE, "labelSelector": selector}]
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    nodes = {"a": {placement.ZONE: ZONES[0]}, "b": {placement.ZONE: ZONES[1]}, "none": {}}
    return placement.beside({"spec": {"affinity": affinity}}, pods, nodes, topology)


def test_a_pod_goes_where_the_rest_of_its_group_is() -> None:
    assert _beside(_company("one", "b"), _company("two", "a")) == {ZONES[1]}
    found = placement.place(_pod(), [_pool()], catalog().instances.values(), zones=ZONES, only={ZONES[1]})
    assert isinstance(found, Placement)
    assert found.zone == ZONES[1]


def test_a_pod_whose_group_has_no_node_yet_goes_anywhere() -> None:
    assert _beside() == _beside(_company("two", "a"), _company("one", ""), _company("one", "none")) == set()
    assert _beside(_company("one", "b"), topology="kubernetes.io/hostname") == set()
    assert placement.beside({"spec": {}}, [_company("one", "b")], {}, placement.ZONE) == set()


def test_a_pool_that_has_no_nodes_where_the_group_is_says_so() -> None:
    found = placement.place(_pod(), [_pool()], catalog().instances.values(), zones=ZONES, only={"us-east-1f"})
    assert str(found) == "pool gpu: it has no nodes in us-east-1f, where the pods beside it are"


def test_without_pools_there_is_no_node() -> None:
    assert _reason(_pod()) == "there is no NodePool"


@pytest.mark.parametrize(
    ("operator", "values", "labels", "expected"),
    [
        ("In", ["a", "b"], {"key": "a"}, True),
        ("In", ["a"], {}, False),
        ("NotIn", ["a"], {}, True),
        ("NotIn", ["a"], {"key": "a"}, False),
        ("Exists", [], {"key": ""}, True),
        ("DoesNotExist", [], {"key": "a"}, False),
        ("Gt", ["3"], {"key": "4"}, True),
        ("Gt", ["4"], {"key": "4"}, False),
        ("Lt", ["4"], {"key": "3"}, True),
        ("Lt", ["4"], {}, False),
    ],
)
def test_requirements_read_labels_as_kubernetes_does(
    operator: str, values: list[str], labels: dict[str, str], expected: bool
) -> None:
    requirement = {"key": "key", "operator": operator, "values": values}
    assert placement.holds(requirement, labels) is expected


def test_init_steps_count_where_they_are_larger_and_sidecars_always() -> None:
    def container(cpu: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    pod = {
        "containers": [container("1")],
        "initContainers": [container("500m", restartPolicy="Always"), container("2")],
    }
    assert placement.requests(pod).millicpu == 2500  # the sidecar runs while the step does
