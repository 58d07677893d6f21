"""Every fault of the table, on the real KEDA, HPA, Prometheus and Karpenter, under constant load."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from chartproof.release import dig
from tests.cluster.faults.table import DEAD_MAN
from tests.cluster.faults.watched import ENOUGH, Inject, injector

if TYPE_CHECKING:
    from tests.cluster.faults.rig import Rig, Served

pytestmark = pytest.mark.slow

BLIND_SECONDS = 300.0
"""Longer than the scale-down window (120 s) and the cooldown (240 s): an autoscaler that took blindness for idleness
would have taken replicas away, and then all of them."""
NODE_POOLS = ("llama-3-1-8b-spot", "llama-3-1-8b-on-demand")


@pytest.fixture
def inject(rig: Rig, served: Served) -> Inject:
    """A block in which a fault of the table is injected and mended; afterwards everything must be well by itself."""
    return injector(rig, served)


# --- What the autoscaler sees with ------------------------------------------------------------------------------------


def test_prometheus_down(rig: Rig, inject: Inject) -> None:
    rig.until(lambda: rig.alerts().get(DEAD_MAN) == "firing", "the dead man's switch is held")
    with inject("prometheus-down") as fault, rig.held("prometheus"):
        fault.lasts(BLIND_SECONDS)
        assert rig.alerts() == {}
    fault.lost_nothing()
    rig.until(lambda: rig.alerts().get(DEAD_MAN) == "firing", "the dead man's switch is held again")


def test_keda_operator_killed(rig: Rig, inject: Inject) -> None:
    with inject("keda-operator-killed") as fault:
        rig.kill("keda-operator")
    fault.lost_nothing()


def test_keda_adapter_killed(rig: Rig, inject: Inject) -> None:
    with inject("keda-adapter-killed") as fault:
        rig.kill("keda-adapter")
    fault.lost_nothing()


def test_prometheus_nan(rig: Rig, inject: Inject) -> None:
    with inject("prometheus-nan") as fault, rig.broken("prometheus-operated.monitoring*", "nan"):
        fault.lasts(BLIND_SECONDS)
    fault.lost_nothing()


def test_api_server_restarted(rig: Rig, served: Served, inject: Inject) -> None:
    pods = {each["metadata"]["uid"] for each in rig.pods(served)}
    with inject("api-server-restarted") as fault:
        rig.kill("kube-apiserver")
    assert {each["metadata"]["uid"] for each in rig.pods(served)} <= pods
    assert {rig.restarts(each) for each in rig.pods(served)} == {0}
    fault.lost_nothing()


def test_prometheus_stale(rig: Rig, inject: Inject) -> None:
    with inject("prometheus-stale") as fault, rig.broken("prometheus-operated.monitoring*", "stale"):
        fault.lasts(BLIND_SECONDS)
    fault.lost_nothing()


def test_targets_lost(rig: Rig, inject: Inject) -> None:
    with inject("targets-lost") as fault, ExitStack() as lost:
        lost.enter_context(rig.broken("*/metrics", "refuse"))
        lost.enter_context(rig.held("kube-state-metrics"))
        fault.lasts(BLIND_SECONDS)
        assert rig.query("up == 1 and on () vector(1)")
        assert not rig.is_scraped()
    fault.lost_nothing()


def test_keda_adapter_gone(rig: Rig, inject: Inject) -> None:
    with inject("keda-adapter-gone") as fault, rig.held("keda-adapter"):
        fault.lasts(BLIND_SECONDS)
    fault.lost_nothing()


# --- What serves ------------------------------------------------------------------------------------------------------


def test_node_without_gpu(rig: Rig, served: Served, inject: Inject) -> None:
    with inject("node-without-gpu") as fault:
        with rig.without_gpus(*NODE_POOLS):
            # More replicas than there are nodes: one that is empty takes a replica without asking for another.
            rig.load(served, len(rig.nodes()) + 0.5)
            rig.until(rig.nodes_without_gpu, "a node comes without its GPU")
            fault.lasts()
            assert rig.waiting(served), "the new replica waits"
            assert len(rig.ready_pods(served)) >= served.replicas

        rig.load(served, served.usual)

        def is_mended() -> bool:
            for node in rig.nodes_without_gpu():
                rig.give_up(node)
            return not rig.waiting(served)

        rig.until(is_mended, "no replica waits any more")
    fault.lost_nothing()


def test_killed_while_loading(rig: Rig, served: Served, inject: Inject) -> None:
    with inject("killed-while-loading") as fault:
        replicas = served.now.replicas or 0
        known = {each["metadata"]["name"] for each in rig.pods(served)}
        # One that is asked for by the minimum: of those asked for by the load, the autoscaler would soon take one away
        # again, and first the one that was killed.
        rig.at_least(served, replicas + 1)
        name = min(rig.until(lambda: rig.loading(served) - known, "another pod loads the model"))

        def told(what: str) -> str:
            return f"{what}: {rig.tell(served)}, {name} is {rig.pod(served, name).get('status')}"

        rig.control(f"pods/{rig.namespace}/{name}/oom")
        rig.until(lambda: _killed(rig.pod(served, name)), lambda: told("the kill is seen"))
        rig.until(lambda: rig.pod(served, name) in rig.ready_pods(served), lambda: told("the pod serves"))
        assert rig.restarts(rig.pod(served, name)) == 1
        rig.at_least(served, served.sizing.minimum)
    fault.lost_nothing()
    rig.until(lambda: (served.now.replicas or 0) <= replicas, "the one more goes again")


def _killed(pod: object) -> bool:
    states = [
        dig(status, which, "terminated", "reason")
        for status in dig(pod, "status", "containerStatuses", default=())
        for which in ("state", "lastState")
    ]
    return "OOMKilled" in states


def test_node_lost(rig: Rig, served: Served, inject: Inject) -> None:
    with inject("node-lost") as fault:
        node = rig.spot_node(served)
        rig.control(f"nodes/{node}/spot-notice")
        rig.until(lambda: all(each["metadata"]["name"] != node for each in rig.nodes()), "the node is gone")
    fault.lost_nothing()


def test_engine_hanging(rig: Rig, served: Served, inject: Inject) -> None:
    with inject("engine-hanging") as fault:
        name = rig.ready_pods(served)[0]["metadata"]["name"]
        rig.control(f"pods/{rig.namespace}/{name}/hang")
        fault.lasts()
        assert name in {each["metadata"]["name"] for each in rig.ready_pods(served)}, "its health checks are good"
        assert served.lost(fault.since) == []
        rig.cluster.api.delete("v1", "Pod", name, rig.namespace)
        rig.until(lambda: name not in rig.pod_names(served), "the pod is gone")
    lost = served.lost(fault.since)
    # Those of the hung engine were cut together, when it was killed at the end of its grace period.
    assert {each.outcome for each in lost} <= {"aborted"}
    ends = [each.done or 0.0 for each in lost]
    assert max(ends, default=0.0) - min(ends, default=0.0) <= rig.speed.simulated(1.0), "others than the hung one's"
    assert served.served(fault.since) >= ENOUGH


def test_rollout(rig: Rig, served: Served, inject: Inject) -> None:
    with inject("rollout") as fault:
        generation = rig.generation(served)
        rig.upgrade(served, "--set-string", "engine.podAnnotations.changed=true")
        rig.until(lambda: rig.rolled_out(served, generation), "every pod is replaced", 150)
    assert min(each.ready or 0 for each in served.samples(fault.since)) >= served.replicas
    fault.lost_nothing()


def test_two_models(rig: Rig, served: Served, neighbour: Served, inject: Inject) -> None:
    with inject("two-models") as fault:
        assert {each.replicas for each in neighbour.samples(0)} == {0}, "the other's load has woken it"
        replicas = served.now.replicas or 0
        rig.load(neighbour, 0.3)
        rig.until(lambda: (neighbour.now.ready or 0) == 1, "it is woken by its own requests")
        # What was held until it served comes at once, and then little; three replicas' worth are under way next door.
        rig.until(
            lambda: 0 < (rig.metric(neighbour) or 0) <= neighbour.sizing.target < (rig.metric(served) or 0),
            "its own requests are counted",
        )
        rig.load(neighbour, 0.0)
        # It may still be on its way down from the fault before.
        assert max(each.replicas or 0 for each in served.samples(fault.since)) <= replicas
    fault.lost_nothing()
    rig.until(lambda: neighbour.served(0), "its requests are answered")
    assert neighbour.lost(0) == []
