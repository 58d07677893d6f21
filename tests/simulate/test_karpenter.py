from __future__ import annotations

import dataclasses

import pytest

from chartproof.errors import InputError
from chartproof.plan.workload_plan import plan_release
from chartproof.simulate.clock import Clock
from chartproof.simulate.karpenter import Karpenter, Node, NodePool, node_pools
from chartproof.simulate.run import Subject, subject_of
from tests import presets


def karpenter(
    subject: Subject, clock: Clock, *pools: NodePool, losses: float = 0.0, discount: float = 0.0
) -> Karpenter:
    return Karpenter(
        clock,
        pools or subject.pools,
        subject.plan,
        seed=0,
        spot_discount=discount,
        spot_losses_per_hour=losses,
    )


def place(nodes: Karpenter, pod: object) -> Node:
    found = nodes.place(pod)
    assert found is not None
    return found


def test_pools_are_tried_by_weight_and_up_to_their_limits(serverless: Subject) -> None:
    assert [each.name for each in serverless.pools] == ["llama-3-1-8b-spot", "llama-3-1-8b-on-demand"]
    nodes = karpenter(serverless, Clock())
    chosen = [place(nodes, object()).pool.name for _ in range(18)]
    assert chosen == ["llama-3-1-8b-spot"] * 9 + ["llama-3-1-8b-on-demand"] * 9
    assert nodes.place(object()) is None


def test_the_cheapest_type_is_bought(serverless: Subject) -> None:
    assert place(karpenter(serverless, Clock()), object()).instance.name == "g6e.xlarge"


def test_pods_share_a_node_with_room(serverless: Subject) -> None:
    large = next(each for each in serverless.plan.facts.instances.values() if each.name == "g6e.12xlarge")
    pool = NodePool("large", (large,), spot=False, gpu_limit=None, consolidate_after=0.0)
    nodes = karpenter(serverless, Clock(), pool)
    assert len({id(place(nodes, object())) for _ in range(5)}) == 2


def test_a_fresh_node_takes_the_plan_s_cold_start_within_its_spread(serverless: Subject) -> None:
    nodes = karpenter(serverless, Clock())
    totals = [sum(seconds for _, seconds in nodes.pod_phases(place(nodes, object()))) for _ in range(18)]
    planned = serverless.lead_seconds
    assert sum(totals) / len(totals) == pytest.approx(planned, rel=0.1)
    assert len({round(each) for each in totals}) > 5


def test_a_warm_node_saves_boot_and_pull(serverless: Subject) -> None:
    clock = Clock()
    nodes = karpenter(serverless, clock)
    pod = object()
    node = place(nodes, pod)
    nodes.pod_phases(node)
    clock.run_until(600)
    nodes.leave(pod)
    assert place(nodes, object()) is node
    names = [name for name, _ in nodes.pod_phases(node)]
    assert names == ["container start", "process start", "weights load", "engine initialisation"]


def test_an_empty_node_is_paid_until_it_is_consolidated(serverless: Subject) -> None:
    clock = Clock()
    nodes = karpenter(serverless, clock)
    pod = object()
    node = place(nodes, pod)
    clock.run_until(3600)
    nodes.leave(pod)
    clock.run_until(3600 + 599)
    assert node in nodes.alive
    clock.run_until(10_000)
    assert node.ended == 3600 + 600
    assert nodes.gpu_hours(10_000) == pytest.approx((4200 - node.launched) / 3600)


def test_a_node_that_is_used_again_is_not_consolidated(serverless: Subject) -> None:
    clock = Clock()
    nodes = karpenter(serverless, clock)
    pod = object()
    node = place(nodes, pod)
    clock.run_until(100)
    nodes.leave(pod)
    clock.run_until(400)
    place(nodes, pod)
    clock.run_until(5000)
    assert node.ended is None


def test_spot_costs_less_by_the_discount_that_is_given(serverless: Subject) -> None:
    full, less = (karpenter(serverless, Clock(), discount=share) for share in (0.0, 0.6))
    for each in (full, less):
        place(each, object())
    assert full.usd(3600) > 0
    assert less.usd(3600) == pytest.approx(0.4 * full.usd(3600))


def test_a_lost_spot_node_gives_notice_and_goes(serverless: Subject) -> None:
    clock = Clock()
    nodes = karpenter(serverless, clock, losses=60.0)
    lost: list[tuple[float, Node]] = []
    nodes.on_loss = lambda node: lost.append((clock.now, node))
    node = place(nodes, object())
    clock.run_until(3600)
    assert [each for _, each in lost] == [node]
    assert node.ended == pytest.approx(lost[0][0] + 120)
    assert nodes.place(object()) is not node


@pytest.fixture(scope="module")
def groups() -> Subject:
    """One or two groups of two nodes, which a pool for four nodes may hold."""
    return subject_of(presets.render("deepseek-v3.2-p5-groups"))


def test_a_group_takes_all_of_its_nodes_and_gives_them_back(groups: Subject) -> None:
    clock = Clock()
    nodes = karpenter(groups, clock)
    pods = [object(), object()]
    slowest = [place(nodes, each) for each in pods]
    assert len(nodes.alive) == 4
    for pod, last in zip(pods, slowest, strict=True):
        homes = nodes.nodes_of(pod)
        assert [each.free_gpus for each in homes] == [0, 0]
        assert last.ready == max(each.ready for each in homes)
    assert nodes.place(object()) is None
    clock.run_until(3600)
    nodes.leave(pods[0])
    assert sum(not each.residents for each in nodes.alive) == 2
    assert nodes.usd(3600) == pytest.approx(4 * 55.04, rel=0.02)


def test_a_group_that_does_not_fit_a_pool_whole_takes_none_of_it(groups: Subject) -> None:
    narrow = dataclasses.replace(groups.pools[0], gpu_limit=24)
    nodes = karpenter(groups, Clock(), narrow)
    place(nodes, object())
    assert nodes.place(object()) is None
    assert len(nodes.alive) == 2


def test_every_node_of_a_group_has_the_image_afterwards(groups: Subject) -> None:
    clock = Clock()
    nodes = karpenter(groups, clock)
    pod = object()
    nodes.pod_phases(place(nodes, pod))
    clock.run_until(3600)
    nodes.leave(pod)
    again = object()
    assert "image pull" not in [name for name, _ in nodes.pod_phases(place(nodes, again))]
    assert len(nodes.nodes) == 2


def test_a_release_without_pools_gets_nodes_that_its_pods_allow(serverless: Subject) -> None:
    release = serverless.release
    bare = dataclasses.replace(release, documents=tuple(each for each in release.documents if each.kind != "NodePool"))
    plan = plan_release(bare)[0]
    pools = node_pools(bare, plan)
    assert [each.gpu_limit for each in pools] == [None]
    assert pools[0].instances[0].name == "g6e.xlarge"


def test_nothing_is_guessed_where_no_instance_type_is_known(serverless: Subject) -> None:
    plan = dataclasses.replace(serverless.plan, candidates=())
    with pytest.raises(InputError, match="which instance types"):
        node_pools(serverless.release, plan)


def test_nodes_that_stand_ready_are_used_first_and_paid_for_always() -> None:
    subject = subject_of(presets.render("gpt-oss-120b-p5-reserved"))
    (standing,) = [each for each in subject.pools if each.standing is not None]
    assert standing.standing == 2
    clock = Clock()
    nodes = karpenter(subject, clock)
    assert (nodes.gpus, len(nodes.alive)) == (2, 2)
    pods = [object() for _ in range(3)]
    assert [place(nodes, each).pool is standing for each in pods] == [True, True, False]
    # No node is made for the first: engine and image only.
    names = [[name for name, _ in nodes.pod_phases(nodes.nodes_of(each)[0])] for each in pods]
    assert "node" not in names[0]
    assert names[2][0] == "node"
    for each in pods:
        nodes.leave(each)
    clock.run_until(7200)
    assert [each.pool is standing for each in nodes.alive] == [True, True]
    assert nodes.gpu_hours(7200) >= 4


def test_a_pool_with_a_fixed_count_makes_no_other_node() -> None:
    subject = subject_of(presets.render("gpt-oss-120b-p5-reserved"))
    (standing,) = [each for each in subject.pools if each.standing is not None]
    nodes = karpenter(subject, Clock(), standing)
    assert [nodes.place(object()) is not None for _ in range(3)] == [True, True, False]


def test_slices_of_a_gpu_are_paid_for_as_the_gpus_they_are_cut_from() -> None:
    subject = subject_of(presets.render("llama-3.1-8b-awq-h100-mig"))
    nodes = karpenter(subject, Clock())
    slices = subject.pools[0].instances[0].gpu_count
    assert slices > 1
    assert len({id(place(nodes, object())) for _ in range(slices)}) == 1
    assert nodes.gpus == 1
    nodes.nodes[0].launched = 0
    assert nodes.gpu_hours(3600) == 1
