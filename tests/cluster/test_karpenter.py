"""Karpenter itself, on a control plane of its own: its choices are those that plans and presets count on."""

from __future__ import annotations

import itertools
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from chartproof import helm, kubernetes_yaml, references, toolchain
from chartproof.catalog import catalog
from chartproof.cluster import control_plane, embedded, node_classes, placement, post_renderer, state
from chartproof.cluster.addons import karpenter
from chartproof.cluster.api import Api
from chartproof.cluster.embedded import Cluster
from chartproof.cluster.live import LiveSettings
from chartproof.cluster.objects import SYSTEM_NODE
from chartproof.cluster.placement import CAPACITY_TYPE, NODE_POOL
from chartproof.cluster.smoke import rendering
from chartproof.cluster.speed import Speed
from chartproof.errors import UsageError
from chartproof.languages.quantity import parse_quantity
from chartproof.plan import plan_release
from chartproof.release import dig
from chartproof.scheduling import EFA_RESOURCE
from chartproof.workload import GPU_RESOURCE
from tests import presets

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
SPEED = Speed(60)

# --- What Karpenter is told -------------------------------------------------------------------------------------------


def _types() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in karpenter.instance_types(catalog().instances.values(), ["eu-west-1b"])}


def test_types_offer_what_the_catalog_has_allocatable_after_the_providers_own_reserve() -> None:
    for name, each in _types().items():
        instance = catalog().instances[name]
        assert parse_quantity(each["resources"]["cpu"]) * 1000 - 100 == instance.allocatable_millicpu
        assert parse_quantity(each["resources"]["memory"]) / 1024**2 - 10 == instance.allocatable_memory_mebibytes
        assert each["resources"].get(GPU_RESOURCE, "0") == str(instance.gpu_count)
        assert each["resources"].get(EFA_RESOURCE, "0") == str(instance.efa)


def test_types_without_a_price_are_not_offered() -> None:
    without = {each.name for each in catalog().instances.values() if each.usd_per_hour is None}
    assert without
    assert set(_types()) == set(catalog().instances) - without


def test_every_type_is_offered_in_each_zone_and_cheaper_as_spot() -> None:
    reserved, spot, on_demand = _types()["g6e.xlarge"]["offerings"]
    assert on_demand["Price"] == catalog().instances["g6e.xlarge"].usd_per_hour
    assert 0 < reserved["Price"] < spot["Price"] < on_demand["Price"]
    wanted = {each["key"]: each.get("values") for each in spot["Requirements"]}
    assert wanted[CAPACITY_TYPE] == ["spot"]
    assert wanted["topology.kubernetes.io/zone"] == ["eu-west-1b"]
    assert wanted["topology.kubernetes.io/region"] == ["eu-west-1"]


def test_types_say_the_same_labels_and_deny_those_they_lack() -> None:
    keys = {
        frozenset(each["key"] for each in offer["Requirements"]) for t in _types().values() for offer in t["offerings"]
    }
    assert len(keys) == 1
    for name, each in _types().items():
        for offer in each["offerings"]:
            stated = {r["key"]: r["values"][0] for r in offer["Requirements"] if r["operator"] == "In"}
            labels = catalog().instances[name].labels
            assert stated.items() >= {k: v for k, v in labels.items() if k.startswith("karpenter") and v}.items()
            denied = {r["key"] for r in offer["Requirements"] if r["operator"] == "DoesNotExist"}
            assert "karpenter.k8s.aws/instance-accelerator-manufacturer" in denied


def test_batches_are_as_short_as_time_is_fast(tmp_path: Path) -> None:
    place = state.place("x", tmp_path)
    place.directory.mkdir(parents=True)
    spec = karpenter.process(place, LiveSettings.choose(Speed(20)))
    assert (spec.environment["BATCH_MAX_DURATION"], spec.environment["BATCH_IDLE_DURATION"]) == ("500ms", "50ms")
    on = {each.partition("=")[0] for each in spec.environment["FEATURE_GATES"].split(",") if each.endswith("=true")}
    assert on == {"StaticCapacity", "CapacityBuffer"}


# --- What it does -----------------------------------------------------------------------------------------------------

_numbers = itertools.count(1)


@dataclass
class Bench:
    """A control plane with Karpenter, and a way to ask both."""

    cluster: Cluster
    pools: list[str] = field(default_factory=list)

    @property
    def api(self) -> Api:
        return self.cluster.api

    def nodes(self, *pools: str) -> list[dict[str, Any]]:
        """Nodes of pools that are not about to go."""
        found = self.api.list("v1", "Node", labelSelector=f"{NODE_POOL} in ({','.join(pools)})")
        return [each for each in found if "deletionTimestamp" not in each["metadata"]]

    def claims(self) -> list[str]:
        return [each["metadata"]["name"] for each in self.api.list("karpenter.sh/v1", "NodeClaim")]

    def claim_of(self, node: dict[str, Any]) -> dict[str, Any]:
        """The claim that a node was made for."""
        found = self.api.list("karpenter.sh/v1", "NodeClaim")
        [claim] = [each for each in found if dig(each, "status", "providerID") == node["spec"]["providerID"]]
        return claim

    def pool(self, types: list[str], **changes: Any) -> str:
        """Make a NodePool of these instance types; `changes` go to its spec, `requirements` are added."""
        name = f"pool-{next(_numbers)}"
        self.pools.append(name)
        requirements = [
            {"key": INSTANCE_TYPE, "operator": "In", "values": types},
            {"key": CAPACITY_TYPE, "operator": "In", "values": changes.pop("capacity", ["on-demand"])},
            *changes.pop("requirements", ()),
        ]
        reference = {"group": node_classes.GROUP, "kind": node_classes.KIND, "name": "bench"}
        body = {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": name},
            "spec": {
                "template": {
                    # One test's pods do not go to another test's nodes.
                    "metadata": {"labels": {"bench": changes.pop("label", name)}},
                    "spec": {"nodeClassRef": reference, "requirements": requirements, "expireAfter": "Never"},
                },
                "disruption": {"consolidationPolicy": "WhenEmpty", "consolidateAfter": changes.pop("after", "Never")},
                **changes,
            },
        }
        self.api.create(body)
        # A pod that comes earlier is looked at again only after 10 s.
        until(lambda: self._is_ready(name))
        return name

    def _is_ready(self, pool: str) -> bool:
        conditions = dig(self.api.find("karpenter.sh/v1", "NodePool", pool), "status", "conditions", default=())
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def pod(self, label: str, gpus: int = 1) -> str:
        name = f"pod-{next(_numbers)}"
        requests = {"cpu": "1", "memory": "4Gi", GPU_RESOURCE: str(gpus)}
        container = {
            "name": "a",
            "image": "example.com/a",
            "resources": {"requests": requests, "limits": {GPU_RESOURCE: str(gpus)}},
        }
        spec = {"nodeSelector": {"bench": label}, "containers": [container]}
        self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, "default")
        return name

    def node_of(self, pod: str) -> str:
        return str(dig(self.api.find("v1", "Pod", pod, "default"), "spec", "nodeName", default=""))

    def runs(self, pod: str) -> dict[str, Any]:
        """The node that the pod gets, within time."""
        until(lambda: bool(self.node_of(pod)))
        node = self.api.find("v1", "Node", self.node_of(pod))
        assert node is not None
        return node

    def refusal(self, pod: str) -> str:
        """What Karpenter says about a pod that it makes no node for."""
        found: list[str] = []

        def refused() -> bool:
            found[:] = [
                each["message"]
                for each in self.api.list("v1", "Event", "default")
                if dig(each, "involvedObject", "name") == pod and dig(each, "source", "component") == "karpenter"
            ]
            return bool(found)

        until(refused)
        return " ".join(found)

    def clear(self) -> None:
        for pod in self.api.list("v1", "Pod", "default"):
            self.api.delete("v1", "Pod", pod["metadata"]["name"], "default", at_once=True)
        for pool in self.pools:
            self.api.delete("karpenter.sh/v1", "NodePool", pool)
        self.pools.clear()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane whose pods run at once on any node, and Karpenter."""
    place = state.place("karpenter", tmp_path_factory.mktemp("state"))
    try:
        control_plane.start(place)
        api = Api(place.kubeconfig)
        api.create(SYSTEM_NODE)
        embedded._define_kinds(api)
        api.create(
            {
                "apiVersion": "karpenter.kwok.sh/v1alpha1",
                "kind": "KWOKNodeClass",
                "metadata": {"name": "bench"},
                "spec": {"nodeRegistrationDelay": "1s"},
            }
        )
        settings = LiveSettings.choose(SPEED)
        with _karpenter(place, settings):
            yield Cluster(place, api, settings)
    finally:
        control_plane.stop(place)


@contextmanager
def _karpenter(place: state.Place, settings: LiveSettings) -> Iterator[None]:
    spec = karpenter.process(place, settings)
    Path(spec.command[0]).symlink_to(toolchain.resolve(karpenter.PROGRAM))
    with (place.logs / "karpenter.log").open("ab") as log:
        environment = {**spec.environment, "PATH": os.defpath}
        with subprocess.Popen(spec.command, env=environment, stdout=log, stderr=log) as process:
            try:
                until(lambda: _answers(spec.health))
                yield
            finally:
                process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own process
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


@pytest.fixture
def bench(cluster: Cluster) -> Iterator[Bench]:
    found = Bench(cluster)
    yield found
    found.clear()


on_cluster = pytest.mark.cluster


@on_cluster
def test_a_node_has_what_plans_count_on(bench: Bench) -> None:
    node = bench.runs(bench.pod(bench.pool(["g6.12xlarge"])))
    planned = placement.allocatable(catalog().instances["g6.12xlarge"])
    allocatable = node["status"]["allocatable"]
    assert parse_quantity(allocatable["cpu"]) * 1000 == planned.millicpu
    assert parse_quantity(allocatable["memory"]) == planned.memory_bytes
    assert (allocatable[GPU_RESOURCE], allocatable["pods"]) == ("4", str(planned.pods))
    assert (
        node["metadata"]["labels"].items()
        >= {k: v for k, v in catalog().instances["g6.12xlarge"].labels.items() if v}.items()
    )


@on_cluster
def test_nodes_and_claims_report_the_whole_machine(bench: Bench) -> None:
    node = bench.runs(bench.pod(bench.pool(["g6.12xlarge"])))
    karpenter.report_capacity(bench.api)
    body = bench.api.find("v1", "Node", node["metadata"]["name"])
    claim = bench.claim_of(node)
    for each in (body, claim):
        capacity = {key: parse_quantity(value) for key, value in dig(each, "status", "capacity").items()}
        assert capacity.items() >= {GPU_RESOURCE: 4, "cpu": 48, "memory": 196608 * 1024**2}.items()
        version = dig(each, "metadata", "resourceVersion")
        assert version
    # Reported once: writing again and again would wake every controller.
    karpenter.report_capacity(bench.api)
    again = bench.api.find("v1", "Node", node["metadata"]["name"])
    assert dig(again, "metadata", "resourceVersion") == dig(body, "metadata", "resourceVersion")


@on_cluster
def test_the_cheapest_type_that_fits_is_taken(bench: Bench) -> None:
    node = bench.runs(bench.pod(bench.pool(["g5.48xlarge", "g6.xlarge", "g6.12xlarge", "g5.xlarge"])))
    assert node["metadata"]["labels"][INSTANCE_TYPE] == "g6.xlarge"


@on_cluster
def test_spot_is_taken_where_both_are_allowed(bench: Bench) -> None:
    node = bench.runs(bench.pod(bench.pool(["g6.xlarge"], capacity=["on-demand", "spot"])))
    assert node["metadata"]["labels"][CAPACITY_TYPE] == "spot"


@on_cluster
def test_a_reserved_machine_is_taken_first(bench: Bench) -> None:
    node = bench.runs(bench.pod(bench.pool(["g6.xlarge"], capacity=["on-demand", "reserved", "spot"])))
    assert node["metadata"]["labels"][CAPACITY_TYPE] == "reserved"


@on_cluster
@pytest.mark.parametrize(
    ("requirement", "chosen"),
    [
        ({"key": "karpenter.k8s.aws/instance-gpu-memory", "operator": "Gt", "values": ["24000"]}, "g6e.xlarge"),
        ({"key": "karpenter.k8s.aws/instance-gpu-name", "operator": "In", "values": ["a10g"]}, "g5.xlarge"),
        # An accelerator of AWS's is not a GPU: such a pool matches nothing, as on AWS.
        (
            {"key": "karpenter.k8s.aws/instance-accelerator-manufacturer", "operator": "In", "values": ["nvidia"]},
            None,
        ),
        ({"key": "eks.amazonaws.com/instance-gpu-name", "operator": "In", "values": ["a10g"]}, None),
    ],
)
def test_labels_of_awss_provider_choose(bench: Bench, requirement: dict[str, Any], chosen: str | None) -> None:
    pool = bench.pool(["g6.xlarge", "g5.xlarge", "g6e.xlarge"], requirements=[requirement])
    pod = bench.pod(pool)
    if chosen:
        assert bench.runs(pod)["metadata"]["labels"][INSTANCE_TYPE] == chosen
    else:
        assert "requirements filtered out all available instance types" in bench.refusal(pod)
        assert bench.nodes(pool) == []


@on_cluster
def test_a_static_pool_has_its_nodes_before_any_pod_asks(bench: Bench) -> None:
    pool = bench.pool(["g6.xlarge"], replicas=2, limits={"nodes": 3})
    until(lambda: len(bench.nodes(pool)) == 2)
    assert bench.runs(bench.pod(pool))["metadata"]["labels"][NODE_POOL] == pool
    assert len(bench.nodes(pool)) == 2


@on_cluster
def test_a_node_stands_ready_for_the_next_replica(bench: Bench) -> None:
    pool = bench.pool(["g6.xlarge"])
    # As the chart renders it: a buffer of one, in the shape of a model that rests at zero.
    container = {"name": "a", "image": "example.com/a", "resources": {"limits": {GPU_RESOURCE: "1"}}}
    template = {
        "metadata": {"labels": {"app": pool}},
        "spec": {"nodeSelector": {"bench": pool}, "containers": [container]},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": pool},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": pool}}, "template": template},
    }
    buffer = {
        "apiVersion": "autoscaling.x-k8s.io/v1beta1",
        "kind": "CapacityBuffer",
        "metadata": {"name": pool},
        "spec": {"replicas": 1, "scalableRef": {"apiGroup": "apps", "kind": "Deployment", "name": pool}},
    }
    bench.api.create(deployment, "default")
    try:
        bench.api.create(buffer, "default")
        until(lambda: len(bench.nodes(pool)) == 1)
        [ready] = bench.nodes(pool)
        assert bench.runs(bench.pod(pool))["metadata"]["name"] == ready["metadata"]["name"]
    finally:
        bench.api.delete("autoscaling.x-k8s.io/v1beta1", "CapacityBuffer", pool, "default")
        bench.api.delete("apps/v1", "Deployment", pool, "default")


@on_cluster
def test_the_heavier_pool_comes_first_and_the_other_when_it_is_full(bench: Bench) -> None:
    label = f"shared-{next(_numbers)}"
    light = bench.pool(["g6.xlarge"], label=label, weight=1)
    heavy = bench.pool(["g5.xlarge"], label=label, weight=50, limits={GPU_RESOURCE: "1"})
    assert bench.runs(bench.pod(label))["metadata"]["labels"][NODE_POOL] == heavy
    assert bench.runs(bench.pod(label))["metadata"]["labels"][NODE_POOL] == light


@on_cluster
def test_limits_hold(bench: Bench) -> None:
    pool = bench.pool(["g6.xlarge"], limits={GPU_RESOURCE: "1"})
    bench.runs(bench.pod(pool))
    assert "limit" in bench.refusal(bench.pod(pool))
    assert len(bench.nodes(pool)) == 1


@on_cluster
def test_limits_count_the_gpus_of_machines_and_not_those_that_pods_ask_for(bench: Bench) -> None:
    pool = bench.pool(["g6.12xlarge"], limits={GPU_RESOURCE: "6"})
    bench.runs(bench.pod(pool))
    karpenter.report_capacity(bench.api)
    until(lambda: dig(bench.api.find("karpenter.sh/v1", "NodePool", pool), "status", "resources", GPU_RESOURCE) == "4")
    assert "limit" in bench.refusal(bench.pod(pool, gpus=4))


@on_cluster
@pytest.mark.slow
def test_an_empty_node_goes_and_its_claim_with_it(bench: Bench) -> None:
    pool = bench.pool(["g6.xlarge"], after="1s")
    pod = bench.pod(pool)
    bench.runs(pod)
    bench.api.delete("v1", "Pod", pod, "default", at_once=True)
    until(lambda: not bench.nodes(pool))
    until(lambda: not any(each.startswith(pool) for each in bench.claims()))


@on_cluster
@pytest.mark.slow
def test_a_spot_notice_drains_the_node(bench: Bench) -> None:
    pool = bench.pool(["g6.xlarge"], capacity=["spot"])
    pod = bench.pod(pool)
    node = bench.runs(pod)["metadata"]["name"]
    assert karpenter.spot_notice(bench.api, node, SPEED) == 2.0
    until(lambda: _taints(bench, node) >= {"karpenter.sh/disrupted"} or not bench.api.find("v1", "Node", node))
    until(lambda: bench.api.find("v1", "Pod", pod, "default") is None)
    until(lambda: bench.api.find("v1", "Node", node) is None)
    reasons = [
        each["reason"]
        for each in bench.api.list("v1", "Event", "default")
        if dig(each, "involvedObject", "name") == node
    ]
    assert "SpotInterrupted" in reasons


def _taints(bench: Bench, node: str) -> set[str]:
    return {each["key"] for each in dig(bench.api.find("v1", "Node", node), "spec", "taints", default=())}


@on_cluster
def test_only_spot_machines_are_taken_back(bench: Bench) -> None:
    node = bench.runs(bench.pod(bench.pool(["g6.xlarge"])))["metadata"]["name"]
    with pytest.raises(UsageError, match="spot machines only"):
        karpenter.spot_notice(bench.api, node, SPEED)


@on_cluster
def test_a_lost_machine_takes_its_pods_along_and_leaves_no_claim(bench: Bench) -> None:
    pool = bench.pool(["g6.xlarge"])
    pod = bench.pod(pool)
    body = bench.runs(pod)
    node, claim = body["metadata"]["name"], bench.claim_of(body)["metadata"]["name"]
    karpenter.lose(bench.api, node)
    assert bench.api.find("v1", "Node", node) is None
    assert bench.api.find("v1", "Pod", pod, "default") is None
    # Another may have come: Karpenter replaces a machine that goes as soon as it knows, while the pod is still there.
    until(lambda: claim not in bench.claims())


@on_cluster
def test_a_node_can_lose_its_gpu(bench: Bench) -> None:
    node = bench.runs(bench.pod(bench.pool(["g6.xlarge"])))["metadata"]["name"]
    karpenter.without_gpu(bench.api, node)
    karpenter.report_capacity(bench.api)
    body = bench.api.find("v1", "Node", node)
    assert GPU_RESOURCE not in dig(body, "status", "allocatable")
    assert GPU_RESOURCE not in dig(body, "status", "capacity")


@on_cluster
def test_nodes_register_without_gpus_until_they_are_given_back(bench: Bench) -> None:
    pool = bench.pool(["g6.xlarge"])
    karpenter.withhold_gpus(bench.api, pool)
    pod = bench.pod(pool)
    until(lambda: len(bench.nodes(pool)) == 1)
    [node] = bench.nodes(pool)
    assert GPU_RESOURCE not in node["status"]["allocatable"]
    # Karpenter has no time limit for this step: somebody has to delete the claim.
    karpenter.return_gpus(bench.api, pool)
    [claim] = [each for each in bench.claims() if each.startswith(pool)]
    bench.api.delete("karpenter.sh/v1", "NodeClaim", claim)
    assert bench.runs(pod)["metadata"]["name"] != node["metadata"]["name"]


@on_cluster
@pytest.mark.parametrize("fault", [karpenter.lose, karpenter.without_gpu])
def test_faults_need_a_node(bench: Bench, fault: Callable[[Api, str], None]) -> None:
    with pytest.raises(UsageError, match="there is no such node"):
        fault(bench.api, "nobody")


# --- Presets ----------------------------------------------------------------------------------------------------------


def _brings_a_pool(stem: str) -> bool:
    """Whether a model preset makes NodePools of its own; told without rendering, which collecting tests must not do."""
    values = kubernetes_yaml.load(presets.path_of(stem).read_text())
    return bool(dig(values, "nodes", "create", default=False)) and dig(values, "engine", "enabled") is not False


POOLED = tuple(filter(_brings_a_pool, presets.STEMS))


@on_cluster
@pytest.mark.slow
@pytest.mark.parametrize("stem", POOLED)
def test_a_preset_gets_the_machine_that_its_plan_calls_cheapest(bench: Bench, stem: str) -> None:
    release = presets.render(stem)
    bodies = [each.body for each in release.documents]
    pools = [each for each in node_classes.played(bodies, SPEED.factor)[0] if each["kind"] == "NodePool"]
    for each in pools:
        each["spec"]["template"]["spec"]["nodeClassRef"]["name"] = "bench"
        bench.pools.append(each["metadata"]["name"])
        bench.api.create(each)
    for plan in plan_release(release):
        template = plan.container.pod
        spec = {**template.spec, "serviceAccountName": "default", "volumes": [], "initContainers": []}
        spec["containers"] = [{key: each[key] for key in ("name", "image", "resources")} for each in spec["containers"]]
        name = f"pod-{next(_numbers)}"
        metadata = {"name": name, "labels": dict(template.labels)}
        bench.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, "default")
        assert bench.runs(name)["metadata"]["labels"][INSTANCE_TYPE] == plan.candidates[0].name


@on_cluster
@pytest.mark.slow
def test_a_preset_installs_through_the_post_renderer_and_uninstalls_without_a_trace(
    bench: Bench, tmp_path: Path
) -> None:
    environment = bench.cluster.environment()
    post_renderer.install(Path(environment["HELM_DATA_HOME"]), SPEED.factor)
    stems = ("platform-eks", "llama-3.1-8b-g6e-serverless")
    names = [helm.release_name(each) for each in stems]
    for stem, name in zip(stems, names, strict=True):
        bench.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for each in references.prerequisites(helm.render(rendering(presets.CHART, presets.path_of(stem)))):
            bench.api.create(each.body())
        changes = tmp_path / stem
        _helm(
            environment,
            "install",
            name,
            str(presets.CHART),
            "--values",
            str(presets.path_of(stem)),
            *post_renderer.options(changes),
        )
        assert any("nodeClassRef" in each for each in post_renderer.read_changes(changes))
    model = names[1]
    [deployment] = bench.api.list("apps/v1", "Deployment", model)
    path = bench.api.resource("apps/v1", "Deployment").path(model, deployment["metadata"]["name"])
    bench.api.patch(f"{path}/scale", {"spec": {"replicas": 2}})
    pools = ("llama-3-1-8b-spot", "llama-3-1-8b-on-demand")
    until(lambda: dig(bench.api.get(path), "status", "readyReplicas") == 2)
    assert {each["metadata"]["labels"][NODE_POOL] for each in bench.nodes(*pools)} == {pools[0]}
    for name in reversed(names):
        _helm(environment, "uninstall", name, "--wait")
    until(lambda: not [each for each in bench.claims() if each.startswith(pools)])
    until(lambda: not bench.api.list("v1", "Node", labelSelector=f"{NODE_POOL} in ({','.join(pools)})"))
    assert not bench.api.list("karpenter.sh/v1", "NodePool", labelSelector="app.kubernetes.io/managed-by=Helm")
    assert [each["metadata"]["name"] for each in bench.api.list("karpenter.kwok.sh/v1alpha1", "KWOKNodeClass")] == [
        "bench"
    ]


def _helm(environment: dict[str, str], action: str, name: str, *arguments: str) -> None:
    command = [str(toolchain.resolve("helm")), action, name, "--namespace", name, *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
