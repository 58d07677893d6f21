"""Replicas over several nodes: what leader and workers are, who reaches them, how they scale and stop."""

from __future__ import annotations

import ast
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from chartproof.catalog import catalog
from chartproof.plan.workload_plan import plan_release
from chartproof.release import Document, PodTemplate, Release
from chartproof.rules._pods import labels_of
from chartproof.workload import EngineContainer, engines_of
from tests import presets
from tests.chart.conftest import Refusals, Render, Values, merged

GROUPS = tuple(each for each in presets.STEMS if each.endswith("-groups"))
BASE: Values = {
    "engine": {"resources": {"cpu": 32}},
    "multiNode": {"enabled": True},
    "nodes": {"instanceTypes": ["g6e.12xlarge"]},
}
SCALED: Values = merged(BASE, {"autoscaling": {"enabled": True}, "observability": {"monitoring": "podMonitor"}})
INDEX = "leaderworkerset.sigs.k8s.io/worker-index"
#: What LeaderWorkerSet names the pods of two groups of two: leaders by the group, workers by their index behind it.
LEADERS, WORKERS = ("{}-0", "{}-1"), ("{}-0-1", "{}-1-1")


def only(release: Release, kind: str) -> Document:
    (found,) = release.of_kind(kind)
    return found


def parts(release: Release) -> tuple[EngineContainer, EngineContainer]:
    """The engines of leader and worker."""
    engines = {each.is_worker: each for each in engines_of(release)}
    assert len(engines) == len(engines_of(release)) == 2
    return engines[False], engines[True]


def labels(release: Release, engine: EngineContainer) -> dict[str, str]:
    found = labels_of(only(release, "LeaderWorkerSet"), engine.pod)
    return found if INDEX in found else {**found, INDEX: "1"}


def reached_by(selector: Values, release: Release) -> list[bool]:
    """Whether a selector takes the leader, and the worker."""
    return [selector.items() <= labels(release, each).items() for each in parts(release)]


@pytest.mark.parametrize("stem", GROUPS)
def test_every_node_of_a_group_is_told_the_same_but_its_part(stem: str) -> None:
    leader, worker = parts(presets.render(stem))
    assert [each for each in worker.words if each != "--headless"] == list(leader.words)
    assert worker.headless == (leader.engine == "vllm")
    told = {each.name: each.value for each in leader.options}
    assert told["--node-rank"] == "$(LWS_WORKER_INDEX)"
    assert told["--nnodes"] == str(leader.group_size) == "2"
    meeting = told["--master-addr"] if leader.engine == "vllm" else str(told["--dist-init-addr"]).partition(":")[0]
    assert meeting == "$(LWS_LEADER_ADDRESS)"
    assert leader.tensor_parallel_size * leader.pipeline_parallel_size == leader.gpus * leader.group_size


@pytest.mark.parametrize("stem", GROUPS)
def test_nodes_wait_for_each_other_as_long_as_the_startup_probe(stem: str) -> None:
    leader, _ = parts(presets.render(stem))
    probe = leader.container["startupProbe"]
    waits = int(leader.option("--distributed-timeout-seconds", "--dist-timeout") or 0)
    assert waits <= probe["periodSeconds"] * probe["failureThreshold"] < waits + probe["periodSeconds"]


@pytest.mark.parametrize("stem", GROUPS)
def test_only_the_leader_is_probed_reached_and_scraped(stem: str) -> None:
    release = presets.render(stem)
    leader, worker = parts(release)
    assert {"startupProbe", "readinessProbe", "livenessProbe", "ports"} <= leader.container.keys()
    assert not {"startupProbe", "readinessProbe", "livenessProbe", "ports"} & worker.container.keys()
    assert reached_by(only(release, "Service").body["spec"]["selector"], release) == [True, False]
    for monitor in release.of_kind("PodMonitor"):
        assert reached_by(monitor.body["spec"]["selector"]["matchLabels"], release) == [True, False]


def test_only_the_leader_is_annotated_for_a_scraper(render: Render) -> None:
    leader, worker = parts(render(BASE, {"observability": {"monitoring": "annotations"}}))
    assert leader.pod.annotations["prometheus.io/scrape"] == "true"
    assert not any(each.startswith("prometheus.io/") for each in worker.pod.annotations)


def test_the_disruption_budget_counts_groups(render: Render) -> None:
    release = render(SCALED)
    assert reached_by(only(release, "PodDisruptionBudget").body["spec"]["selector"]["matchLabels"], release) == [
        True,
        False,
    ]


def test_the_group_s_own_service_does_not_take_the_clients_name(render: Render) -> None:
    # LeaderWorkerSet's shared Service is named like the set, and it makes none where there is one of that name.
    release = render(BASE)
    group = only(release, "LeaderWorkerSet")
    assert only(release, "Service").name == group.name
    assert group.body["spec"]["networkConfig"] == {"subdomainPolicy": "UniquePerReplica"}


def test_what_fits_a_node_is_tensor_parallel_and_nodes_are_stages(render: Render, refusals: Refusals) -> None:
    leader, _ = parts(render(BASE, {"multiNode": {"nodes": 3}}))
    assert (leader.tensor_parallel_size, leader.pipeline_parallel_size, leader.gpus) == (4, 3, 4)
    # One group of GPUs over both nodes: as given.
    wide = {"engine": {"tensorParallelSize": 4}, "nodes": {"instanceTypes": ["g6e.2xlarge"]}, "multiNode": {"nodes": 4}}
    leader, _ = parts(render(merged(BASE, {"engine": {"resources": {"cpu": 4}}}), wide))
    assert (leader.tensor_parallel_size, leader.pipeline_parallel_size, leader.gpus) == (4, 1, 1)
    assert refusals(BASE, {"engine": {"tensorParallelSize": 4}, "multiNode": {"nodes": 3}})


@pytest.mark.parametrize("stem", GROUPS)
def test_chart_and_plan_agree_on_the_memory_of_a_group(stem: str) -> None:
    release = presets.render(stem)
    (plan,) = plan_release(release)
    assert (plan.gpus, plan.nodes, plan.gpus_per_node) == (16, 2, 8)
    assert plan.smallest_fit is not None
    assert plan.smallest_fit.fits
    p5 = catalog().instances["p5.48xlarge"].usd_per_hour
    assert p5 is not None
    assert plan.usd_per_hour == pytest.approx(2 * p5)
    # More than any single node of these.
    assert plan.weights_gigabytes * 1e9 > plan.smallest_fit.budget_bytes / 2


def test_the_autoscaler_counts_and_scales_groups(render: Render) -> None:
    release = render(SCALED)
    group, scaler = only(release, "LeaderWorkerSet"), only(release, "ScaledObject")
    target = scaler.body["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": group.api_version, "kind": group.kind, "name": group.name}
    queries = {each["name"]: each["metadata"]["query"] for each in scaler.body["spec"]["triggers"]}
    assert f'kube_statefulset_status_replicas_ready{{namespace="llm",statefulset="{group.name}"}}' in queries["running"]
    pattern = re.findall(r'pod=~"([^"]+)"', queries["running"])[0].replace("\\\\", "\\")
    assert all(re.fullmatch(pattern, each.format(group.name)) for each in LEADERS)
    assert not any(re.fullmatch(pattern, each.format(group.name)) for each in WORKERS)
    assert "replicas" not in group.body["spec"]


def test_an_installation_at_zero_starts_no_group(render: Render) -> None:
    zero = {"autoscaling": {"minReplicas": 0, "wake": {"query": "sum(gateway_waiting)"}}}
    group = only(render(SCALED, zero, api_versions=()), "LeaderWorkerSet")
    assert group.body["spec"]["replicas"] == 0
    assert group.annotations["llm-inference.io/replicas"] == "set"


@pytest.mark.parametrize("stem", GROUPS)
def test_alerts_look_at_groups(stem: str) -> None:
    release = presets.render(stem)
    name = only(release, "LeaderWorkerSet").name
    rules = {
        rule["alert"]: rule["expr"]
        for document in release.of_kind("PrometheusRule")
        for group in document.body["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert "kube_deployment" not in json.dumps(rules)
    assert f'kube_statefulset_replicas{{namespace="llm",statefulset="{name}"}}' in rules["LlmAutoscalerBlind"]
    waits = re.findall(r'pod=~"([^"]+)"', rules["LlmPodWaitsForGpu"])[0]
    assert all(re.fullmatch(waits, each.format(name)) for each in (*LEADERS, *WORKERS))
    fails = re.findall(r'pod=~"([^"]+)"', rules["LlmRequestsFailing"])[0]
    assert all(re.fullmatch(fails, each.format(name)) for each in LEADERS)
    assert not any(re.fullmatch(fails, each.format(name)) for each in WORKERS)


def test_the_pods_of_a_group_keep_to_one_zone_and_leaders_spread(render: Render) -> None:
    leader, worker = parts(render(BASE))
    for each in (leader, worker):
        (term,) = each.pod.spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "topology.kubernetes.io/zone"
        assert term["matchLabelKeys"] == ["leaderworkerset.sigs.k8s.io/group-key"]
    (spread,) = leader.pod.spec["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"][INDEX] == "0"
    assert "topologySpreadConstraints" not in worker.pod.spec


def test_a_group_may_have_a_zone_for_itself(render: Render) -> None:
    release = render(BASE, {"multiNode": {"placement": {"exclusive": True}}})
    annotations = only(release, "LeaderWorkerSet").annotations
    assert annotations["leaderworkerset.sigs.k8s.io/exclusive-topology"] == "topology.kubernetes.io/zone"
    assert all("podAffinity" not in each.pod.spec["affinity"] for each in parts(release))


@pytest.mark.parametrize("delivery", ["initDownload", "stream", "volume", "image"])
def test_every_node_of_a_group_gets_the_weights(render: Render, delivery: str) -> None:
    weights: dict[str, Any] = {"delivery": delivery}
    if delivery == "stream":
        weights["source"] = {"type": "s3", "s3": {"uri": "s3://bucket/model", "region": "eu-west-1"}}
    policy = {"security": {"networkPolicy": {"enabled": True, "clientNamespaces": ["apps"]}}}
    release = render(BASE, {"weights": weights, "aws": {"identity": "podIdentity"}}, policy)
    leader, worker = parts(release)
    for field in ("initContainers", "volumes"):
        assert leader.pod.spec.get(field) == worker.pod.spec.get(field)
    assert leader.container["volumeMounts"] == worker.container["volumeMounts"]
    names = [each["name"] for each in worker.pod.spec.get("initContainers", [])]
    waits = {"initDownload": ["download-weights"], "image": []}.get(delivery, ["check-weights"])
    assert names == waits
    _admits_its_own(release)


def _admits_its_own(release: Release) -> None:
    """Leader and workers reach each other on all ports, and the cluster's DNS, by which workers find their leader."""
    (policy,) = (each for each in release.of_kind("NetworkPolicy") if "weights" not in each.name)
    own = [
        [rule for rule in policy.body["spec"][way] if "ports" not in rule and _selects_all(rule, way, release)]
        for way in ("ingress", "egress")
    ]
    assert [len(each) for each in own] == [1, 1]
    assert any({"port": 53, "protocol": "UDP"} in each.get("ports", []) for each in policy.body["spec"]["egress"])


def _selects_all(rule: Values, way: str, release: Release) -> bool:
    peers = rule["from" if way == "ingress" else "to"]
    return any(reached_by(each["podSelector"]["matchLabels"], release) == [True, True] for each in peers)


def test_a_worker_stays_while_its_leader_answers(render: Render) -> None:
    release = render(BASE)
    leader, worker = parts(release)
    command = worker.container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:2] == ["python3", "-c"]
    ast.parse(command[2])
    port, meeting, longest = map(int, command[3:])
    assert port == leader.port
    assert meeting == int(leader.option("--master-port") or 0)
    drain = int(leader.option("--shutdown-timeout") or 0)
    assert longest == leader.container["lifecycle"]["preStop"]["sleep"]["seconds"] + drain
    assert longest < worker.pod.spec["terminationGracePeriodSeconds"]


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def staying(render: Render, leader: str, port: int, meeting: int, seconds: int = 60) -> subprocess.Popen[bytes]:
    """The worker's hook, as the kubelet would run it with these ports."""
    _, worker = parts(render(BASE))
    command = worker.container["lifecycle"]["preStop"]["exec"]["command"]
    words = [sys.executable, *command[1:3], str(port), str(meeting), str(seconds)]
    return subprocess.Popen(words, env={"LWS_LEADER_ADDRESS": leader})


@pytest.mark.parametrize("named", [True, False], ids=["by its name", "by whom it met, once the name is gone"])
def test_a_worker_finds_its_leader_and_goes_after_it(render: Render, named: bool) -> None:
    with listening() as server, listening() as meeting, socket.create_connection(meeting.getsockname()):
        name = "localhost" if named else "llm-0.gone.invalid"
        hook = staying(render, name, server.getsockname()[1], meeting.getsockname()[1])
        with pytest.raises(subprocess.TimeoutExpired):
            hook.wait(2.5)
        server.close()
        assert hook.wait(10) == 0


def test_a_worker_does_not_stay_longer_than_its_leader_may_drain(render: Render) -> None:
    with listening() as server:
        assert staying(render, "localhost", server.getsockname()[1], 1, seconds=1).wait(10) == 0


def test_a_worker_without_a_leader_goes_at_once(render: Render) -> None:
    assert staying(render, "llm-0.gone.invalid", 1, 1).wait(10) == 0


def test_an_update_makes_a_group_more_or_goes_without(render: Render) -> None:
    strategy = ("rolloutStrategy", "rollingUpdateConfiguration")
    more = only(render(BASE), "LeaderWorkerSet").get("spec", *strategy)
    assert more == {"maxSurge": 1, "maxUnavailable": 0}
    without = render(BASE, {"engine": {"rollout": {"acceptDowntime": True}}})
    assert only(without, "LeaderWorkerSet").get("spec", *strategy) == {"maxSurge": 0, "maxUnavailable": 1}


def test_pool_limits_are_those_of_whole_groups(render: Render) -> None:
    pools = {"nodes": {"create": True, "nodeClassRef": {"name": "llm-gpu"}}}
    (pool,) = render(SCALED, pools).of_kind("NodePool")
    # (4 groups and one of the update) x 2 nodes x 4 GPUs
    assert pool.body["spec"]["limits"]["nvidia.com/gpu"] == 40


def test_adapters_and_huge_pages_are_asked_for_by_every_pod(render: Render) -> None:
    efa: Values = {
        "model": {"id": "meta-llama/Llama-3.1-8B-Instruct"},
        "weights": {"delivery": "image"},
        "engine": {"image": {"repository": "acme/vllm-efa"}},
        "multiNode": {"efa": {"enabled": True, "hugePagesGibibytes": 5}},
        "nodes": {"provider": "existing", "instanceTypes": ["p5.48xlarge", "p5en.48xlarge"]},
    }
    for each in parts(render(BASE, efa)):
        for side in ("requests", "limits"):
            resources = each.container["resources"][side]
            # 32 adapters of the one type, 16 of the other.
            assert resources["vpc.amazonaws.com/efa"] == 16
            assert resources["hugepages-2Mi"] == "5Gi"
        assert each.environment["FI_PROVIDER"] == "efa"
        assert "FI_EFA_USE_HUGE_PAGE" not in each.environment
    (without,) = {
        each.environment["FI_EFA_USE_HUGE_PAGE"]
        for each in parts(render(BASE, merged(efa, {"multiNode": {"efa": {"hugePagesGibibytes": 0}}})))
    }
    assert without == "0"


def test_a_release_without_groups_knows_nothing_of_them(render: Render) -> None:
    release = render(
        {"nodes": {"instanceTypes": ["g6e.2xlarge"]}},
        {"autoscaling": {"enabled": True}, "observability": {"monitoring": "podMonitor"}},
    )
    text = json.dumps([each.body for each in release.documents])
    for word in ("leaderworkerset", "LWS_", "statefulset", "rendezvous", "--nnodes", "VLLM_HOST_IP"):
        assert word not in text


def test_templates_of_leader_and_worker_differ_in_what_they_do_only(render: Render) -> None:
    leader, worker = parts(render(BASE))

    def common(pod: PodTemplate) -> dict[str, Any]:
        return {key: value for key, value in pod.spec.items() if key not in {"containers", "topologySpreadConstraints"}}

    assert common(leader.pod) == common(worker.pod)
    differ = {
        key for key in {*leader.container, *worker.container} if leader.container.get(key) != worker.container.get(key)
    }
    assert differ == {"name", "args", "ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle"}
