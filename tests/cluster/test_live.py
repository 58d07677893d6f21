"""The live loop as it runs: every part well, and autoscaling real."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

import pytest

from chartproof import toolchain
from chartproof.cluster import Cluster, Live, embedded, processes, state, supervisor
from chartproof.cluster.addons import prometheus
from chartproof.cluster.api import ApiError
from chartproof.errors import ClusterError
from chartproof.release import dig

SECONDS = 120
STATIC_TARGETS = 9
DEPLOYMENT, SCALED_OBJECT, AUTOSCALER = (
    ("apps/v1", "Deployment"),
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
)
#: They have no option for it; what they tell there is no secret.
LISTENING_EVERYWHERE = {"keda-adapter": 1, "keda-admission-webhooks": 1, "karpenter": 2}


def _until(condition: Callable[[], Any], why: str = "did not happen in time") -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, why
        time.sleep(0.05)
    return found


@pytest.fixture
def namespace(live_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of this test; it goes with everything in it afterwards, but nobody waits for that."""
    name = f"test-{hashlib.sha256(request.node.name.encode()).hexdigest()[:10]}"
    live_cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    live_cluster.api.delete("v1", "Namespace", name)


def _well(cluster: Cluster) -> bool:
    return all(each.healthy for each in supervisor.status(cluster.place.directory))


def _ask(cluster: Cluster, path: str) -> Any:
    """What Prometheus answers, asked by the address that presets use."""
    assert cluster.live
    opener = build_opener(ProxyHandler({"http": f"http://127.0.0.1:{cluster.live.network_port}"}))
    with opener.open(
        f"http://{prometheus.SERVICE}.{prometheus.NAMESPACE}.svc:9090/api/v1/{path}", timeout=10
    ) as answer:
        return json.load(answer)["data"]


def _query(cluster: Cluster, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _ask(cluster, f"query?query={quote(query)}")["result"]
    return found


def _listening(pid: int) -> list[str]:
    """Addresses a process listens on, as the kernel writes them."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        if match := re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink())):
            sockets.add(match[1])
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return [local.partition(":")[0] for _, local, _, status, *rest in rows if status == "0A" and rest[5] in sockets]


def test_every_process_is_well(live_cluster: Cluster) -> None:
    _until(lambda: _well(live_cluster), "not everything is well")
    found = {each.name for each in supervisor.status(live_cluster.place.directory)}
    assert {
        "etcd",
        "kube-apiserver",
        "keda-operator",
        "prometheus",
        "karpenter",
        "lws-controller",
        "machines",
    } <= found
    assert len(found) == 15


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's socket tables")
def test_next_to_nothing_listens_beyond_the_loopback_interface(live_cluster: Cluster) -> None:
    elsewhere = {}
    for pid in processes.of_cluster(live_cluster.place.directory):
        count = sum(address != "0100007F" for address in _listening(pid))
        if count:
            elsewhere[Path(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]).name] = count
    assert elsewhere == LISTENING_EVERYWHERE


def _deployment(namespace: str, name: str, replicas: int = 0) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "main", "image": "registry.example/main:1"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def _scaled_object(namespace: str, name: str, formula: str = "load * 10") -> dict[str, Any]:
    """One replica for each ConfigMap whose name begins with `load-`, as kube-state-metrics tells Prometheus of them."""
    query = f'count(kube_configmap_info{{namespace="{namespace}",configmap=~"load-.*"}}) or vector(0)'
    server = f"http://{prometheus.SERVICE}.{prometheus.NAMESPACE}.svc:9090"
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": name},
            "pollingInterval": 1,
            "cooldownPeriod": 2,
            "minReplicaCount": 0,
            "maxReplicaCount": 10,
            "advanced": {
                "scalingModifiers": {"formula": formula, "target": "10"},
                "horizontalPodAutoscalerConfig": {
                    "behavior": {
                        "scaleUp": {"policies": [{"type": "Percent", "value": 900, "periodSeconds": 1}]},
                        "scaleDown": {"stabilizationWindowSeconds": 0},
                    }
                },
            },
            "triggers": [
                {
                    "type": "prometheus",
                    "name": "load",
                    "metadata": {"serverAddress": server, "query": query, "threshold": "1"},
                }
            ],
        },
    }


def _load(cluster: Cluster, namespace: str, count: int) -> None:
    """Let the load that Prometheus reports be this."""
    there = {each["metadata"]["name"] for each in cluster.api.list("v1", "ConfigMap", namespace)}
    for number in range(20):
        name = f"load-{number}"
        if number < count and name not in there:
            metadata = {"name": name, "namespace": namespace}
            cluster.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        elif number >= count and name in there:
            cluster.api.delete("v1", "ConfigMap", name, namespace)


def _replicas(cluster: Cluster, namespace: str, name: str) -> int:
    return int(dig(cluster.api.find(*DEPLOYMENT, name, namespace), "spec", "replicas"))


def _reaches(cluster: Cluster, namespace: str, name: str, replicas: int) -> None:
    _until(lambda: _replicas(cluster, namespace, name) == replicas, f"{name} does not come to {replicas} replicas")


def test_keda_and_the_real_autoscaler_scale_from_nothing_and_back(live_cluster: Cluster, namespace: str) -> None:
    api = live_cluster.api
    api.apply(_deployment(namespace, "model"))
    api.apply(_scaled_object(namespace, "model"))
    _until(lambda: api.find(*AUTOSCALER, "keda-hpa-model", namespace))
    assert _replicas(live_cluster, namespace, "model") == 0
    _load(live_cluster, namespace, 7)
    _reaches(live_cluster, namespace, "model", 7)
    _until(lambda: dig(api.find(*DEPLOYMENT, "model", namespace), "status", "readyReplicas") == 7)

    def was_rescaled() -> bool:
        by_autoscaler = [each for each in api.list("v1", "Event", namespace) if each["reason"] == "SuccessfulRescale"]
        return any("New size: 7" in each["message"] and "composite-metric" in each["message"] for each in by_autoscaler)

    _until(was_rescaled, "the autoscaler does not tell of its decision")
    _load(live_cluster, namespace, 0)
    _reaches(live_cluster, namespace, "model", 0)


@pytest.mark.parametrize(
    "name", ["keda-operator", "keda-adapter", "kube-apiserver", "prometheus", "kube-controller-manager"]
)
def test_autoscaling_goes_on_after_a_part_was_killed(live_cluster: Cluster, namespace: str, name: str) -> None:
    live_cluster.api.apply(_deployment(namespace, "model"))
    live_cluster.api.apply(_scaled_object(namespace, "model"))
    _load(live_cluster, namespace, 3)
    _reaches(live_cluster, namespace, "model", 3)
    before = {each.name: each for each in supervisor.status(live_cluster.place.directory)}
    supervisor.kill(live_cluster.place, name)

    def is_back() -> bool:
        found = {each.name: each for each in supervisor.status(live_cluster.place.directory)}
        return found[name].restarts == before[name].restarts + 1 and found[name].healthy

    _until(is_back, f"{name} does not come back")
    _until(lambda: _answers(live_cluster), "the API server does not come back")
    _load(live_cluster, namespace, 6)
    _reaches(live_cluster, namespace, "model", 6)
    _until(lambda: _well(live_cluster), "not everything is well again")


def _answers(cluster: Cluster) -> bool:
    try:
        return bool(cluster.api.get("/version"))
    except ApiError:
        return False


def test_kedas_webhook_refuses_what_keda_could_not_compute(live_cluster: Cluster, namespace: str) -> None:
    live_cluster.api.apply(_deployment(namespace, "model"))
    with pytest.raises(ApiError, match=r'admission webhook "vscaledobject\.keda\.sh" denied'):
        live_cluster.api.apply(_scaled_object(namespace, "model", formula="lod * 10"))


def test_what_autoscaling_is_told_of_comes_from_kedas_and_karpenters_own_metrics(live_cluster: Cluster) -> None:
    for query in (
        'keda_build_info{namespace="keda",job="keda-operator"}',
        'karpenter_build_info{namespace="kube-system",job="karpenter"}',
        'kube_node_info{node="system-0",job="kube-state-metrics"}',
    ):
        _until(partial(_query, live_cluster, query), f"{query} is empty")
    _until(
        lambda: len(_query(live_cluster, "up")) == STATIC_TARGETS and not _query(live_cluster, "up == 0"),
        "a target is down",
    )


def _monitor(kind: str, namespace: str, labels: dict[str, str], endpoints: str) -> dict[str, Any]:
    """A monitor of the pod network's own Prometheus, the one program that needs no engine."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": kind,
        "metadata": {"name": "self", "namespace": namespace},
        "spec": {
            "namespaceSelector": {"matchNames": [prometheus.NAMESPACE]},
            "selector": {"matchLabels": labels},
            endpoints: [{"port": "web", "interval": "1s", "scrapeTimeout": "1s"}],
        },
    }


def test_monitors_of_any_namespace_and_annotations_bring_data(live_cluster: Cluster, namespace: str) -> None:
    api = live_cluster.api
    api.apply(_monitor("ServiceMonitor", namespace, {"operated-prometheus": "true"}, "endpoints"))
    api.apply(_monitor("PodMonitor", namespace, {"app.kubernetes.io/name": "prometheus"}, "podMetricsEndpoints"))
    annotations = {"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics"}
    where, pod = prometheus.POD
    path = f"/api/v1/namespaces/{where}/pods/{pod}"
    api.patch(path, {"metadata": {"annotations": annotations}})
    try:
        for job in (prometheus.SERVICE, f"{namespace}/self", "kubernetes-pods"):
            query = f'prometheus_build_info{{job="{job}",namespace="{where}",pod="{pod}",instance=~"10[.]64[.].*"}}'
            _until(partial(_query, live_cluster, query), f"{job} brings nothing")
    finally:
        api.patch(path, {"metadata": {"annotations": dict.fromkeys(annotations)}})
        for kind in ("ServiceMonitor", "PodMonitor"):
            api.delete("monitoring.coreos.com/v1", kind, "self", namespace)
    _until(lambda: len(_query(live_cluster, "up")) == STATIC_TARGETS, "targets without a monitor stay")


def test_rules_of_any_namespace_are_evaluated(live_cluster: Cluster, namespace: str) -> None:
    metadata = {"name": "model", "namespace": namespace}
    group = {"name": "of-this-test", "rules": [{"alert": "AlwaysFiring", "expr": "vector(1)"}]}
    rule = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": metadata}
    live_cluster.api.apply({**rule, "spec": {"groups": [group]}})
    firing = 'ALERTS{alertname="AlwaysFiring",alertstate="firing"}'
    _until(lambda: _query(live_cluster, firing), "the rule does not fire")
    live_cluster.api.delete("monitoring.coreos.com/v1", "PrometheusRule", "model", namespace)
    _until(lambda: not _query(live_cluster, firing), "the rule goes on firing")


def test_pods_are_left_to_the_played_machines(live_cluster: Cluster, namespace: str) -> None:
    """Without them, nobody makes a pod run: kwok does not."""
    live_cluster.api.apply(_deployment(namespace, "before", replicas=1))
    _until(lambda: dig(live_cluster.api.find(*DEPLOYMENT, "before", namespace), "status", "readyReplicas") == 1)
    supervisor.hold(live_cluster.place, "machines")
    try:
        live_cluster.api.apply(_deployment(namespace, "during", replicas=1))

        def scheduled() -> list[dict[str, Any]]:
            found = live_cluster.api.list("v1", "Pod", namespace, labelSelector="app=during")
            return [each for each in found if dig(each, "spec", "nodeName")]

        _until(scheduled)
        # A change that kwok's lease and node controllers certainly saw.
        live_cluster.api.patch("/api/v1/nodes/system-0", {"metadata": {"labels": {"seen": "true"}}})
        time.sleep(1)
        assert [dig(each, "status", "phase") for each in scheduled()] == ["Pending"]
    finally:
        supervisor.release(live_cluster.place, "machines")
    _until(lambda: dig(live_cluster.api.find(*DEPLOYMENT, "during", namespace), "status", "readyReplicas") == 1)


@pytest.mark.cluster
@pytest.mark.xdist_group("live")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    place = state.place("one", tmp_path)
    command = [sys.executable, "-m", "chartproof", "cluster", "up", "--name", "one", "--state-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            _until(lambda: any(each.name == "prometheus" and each.pid for each in supervisor.status(place.directory)))
            process.send_signal(number)
            output, _ = process.communicate(timeout=SECONDS)
        finally:
            left = processes.of_cluster(place.directory)
            embedded.down("one", state_dir=tmp_path)
    assert process.returncode == 128 + number, output.decode()
    assert b"Traceback" not in output
    assert left == []
    assert [each for each in tmp_path.rglob("*") if each.is_file() and each.name != "lock"] == []


@pytest.mark.cluster
@pytest.mark.xdist_group("live")
def test_a_cluster_without_a_running_part_says_which_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "kube-state-metrics"
    broken.write_text("#!/bin/sh\necho no metrics today >&2; exit 1\n")
    broken.chmod(0o755)
    ensure = toolchain.ensure
    monkeypatch.setattr(
        "chartproof.toolchain.ensure",
        lambda names: {name: broken if name == broken.name else path for name, path in ensure(names).items()},
    )
    monkeypatch.setattr("chartproof.cluster.live_loop._READY_SECONDS", 8)
    with pytest.raises(ClusterError, match=r"(?s)not well.*kube-state-metrics: no metrics today"):
        embedded.up("one", state_dir=tmp_path / "state", live=Live())
    assert state.places(tmp_path / "state") == []


def test_the_command_tells_of_every_process(live_cluster: Cluster) -> None:
    command = [sys.executable, "-m", "chartproof", "cluster", "status"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = text.partition(live_cluster.place.name)[2].splitlines()
    assert "15 times as fast" in rows[0]
    assert any(re.match(r"  keda-operator +healthy +process \d+", each) for each in rows)
    listed = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True).stdout
    [found] = [each for each in json.loads(listed)["clusters"] if each["name"] == live_cluster.place.name]
    assert found["speed"] == 15
    assert {each["name"] for each in found["processes"]} >= {"etcd", "prometheus", "machines"}
