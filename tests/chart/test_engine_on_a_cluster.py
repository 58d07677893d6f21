"""Engine, weights and security on a real API server: every document is taken, and upgrades keep the replicas."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof import cluster, toolchain
from chartproof.cluster import Cluster
from tests.chart.conftest import Render, Values, merged
from tests.presets import CHART

pytestmark = pytest.mark.cluster

G6E: Values = {"nodes": {"instanceTypes": ["g6e.2xlarge"]}}
CLOSED: Values = {"security": {"networkPolicy": {"enabled": True, "clientNamespaces": ["apps"]}}}
S3: Values = {"weights": {"source": {"type": "s3", "s3": {"uri": "s3://bucket/model", "region": "eu-west-1"}}}}
STORE: Values = {
    "weights": {"source": {"s3": {"endpointUrl": "http://minio.storage.svc:9000", "existingSecret": "minio"}}}
}
IRSA: Values = {"aws": {"identity": "irsa", "roleArn": "arn:aws:iam::123456789012:role/weights"}}
CASES: dict[str, Values] = {
    "stage": merged(G6E, CLOSED, S3, IRSA, {"weights": {"stage": {"enabled": True}}}),
    "stream from a store": merged(G6E, CLOSED, S3, STORE, {"weights": {"delivery": "stream"}}),
    "volume": merged(G6E, CLOSED, {"weights": {"delivery": "volume"}}),
    "image": merged(G6E, {"weights": {"delivery": "image"}}),
    "compile cache": merged(G6E, {"engine": {"compileCache": {"enabled": True, "existingClaim": "c"}, "replicas": 3}}),
    "no pause": merged(G6E, {"engine": {"preStopSeconds": 0, "rollout": {"acceptDowntime": True}}}),
    "groups": merged(G6E, CLOSED, {"multiNode": {"enabled": True}}),
    "any taint value": merged(G6E, {"nodes": {"provider": "existing", "taints": {"nvidia.com/gpu": {"value": None}}}}),
}
ASLEEP: Values = merged(
    G6E,
    {
        "autoscaling": {"enabled": True, "minReplicas": 0, "wake": {"query": "sum(rate(requests_total[1m]))"}},
        "observability": {"monitoring": "podMonitor"},
    },
)
AWAKE: Values = merged(G6E, {"autoscaling": {"enabled": True}, "observability": {"monitoring": "podMonitor"}})


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_the_api_server_takes_every_document(embedded_cluster: Cluster, render: Render, values: Values) -> None:
    # The pod of `helm test` is taken once its account is there, which a dry run does not make.
    release = render(values, {"helmTest": {"enabled": False}})
    assert release.documents
    assert cluster.dry_run(embedded_cluster, release) == []


@dataclass(frozen=True)
class Installed:
    """One Helm release, installed with or without server-side apply."""

    kubeconfig: str
    namespace: str
    values: Path
    kind: str = "deployment"

    def helm(self, *words: str) -> None:
        done = subprocess.run(
            [toolchain.resolve("helm"), *words, "--kubeconfig", self.kubeconfig, "--namespace", self.namespace],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr

    def upgrade(self, *layers: Values) -> None:
        self.write(*layers)
        self.helm("upgrade", "chat", str(CHART), "--values", str(self.values))

    def write(self, *layers: Values) -> None:
        groups = {"multiNode": {"enabled": self.kind == "leaderworkerset"}}
        self.values.write_text(yaml.safe_dump(merged(*layers, groups)), encoding="utf-8")

    def kubectl(self, *words: str) -> str:
        done = subprocess.run(
            [toolchain.resolve("kubectl"), *words, "--kubeconfig", self.kubeconfig, "--namespace", self.namespace],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    @property
    def replicas(self) -> int:
        return int(self.kubectl("get", self.kind, "chat-llm-inference", "--output", "jsonpath={.spec.replicas}"))

    def scale(self, replicas: int) -> None:
        """As the autoscalers do: through the scale subresource."""
        self.kubectl("scale", self.kind, "chat-llm-inference", f"--replicas={replicas}")


@pytest.fixture(params=["deployment", "leaderworkerset"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["true", "false"], ids=["server-side apply", "three-way merge"])
def asleep(embedded_cluster: Cluster, tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> Iterator[Installed]:
    namespace = f"replicas-{kind}-{request.param}"
    release = Installed(str(embedded_cluster.place.kubeconfig), namespace, tmp_path / "values.yaml", kind)
    release.write(ASLEEP)
    words = ("--create-namespace", f"--server-side={request.param}", "--values", str(release.values))
    release.helm("install", "chat", str(CHART), *words)
    yield release
    release.helm("uninstall", "chat")


def test_upgrades_keep_what_the_autoscaler_chose(asleep: Installed) -> None:
    assert asleep.replicas == 0
    asleep.upgrade(ASLEEP, {"engine": {"drainSeconds": 70}})
    assert asleep.replicas == 0
    asleep.scale(5)
    asleep.upgrade(ASLEEP, {"engine": {"drainSeconds": 60}})
    assert asleep.replicas == 5
    asleep.scale(3)
    asleep.upgrade(ASLEEP, {"engine": {"drainSeconds": 50}})
    assert asleep.replicas == 3
    asleep.upgrade(AWAKE)
    assert asleep.replicas == 3


def test_rollback_between_upgrades_keeps_a_count_that_was_chosen(asleep: Installed) -> None:
    asleep.scale(4)
    asleep.upgrade(ASLEEP, {"engine": {"drainSeconds": 70}})
    asleep.upgrade(ASLEEP, {"engine": {"drainSeconds": 60}})
    asleep.helm("rollback", "chat", "2")
    assert asleep.replicas == 4


def test_model_that_may_not_sleep_any_more_is_woken(asleep: Installed) -> None:
    asleep.upgrade(AWAKE)
    assert asleep.replicas == 1


@pytest.fixture(scope="module")
def restricted(embedded_cluster: Cluster) -> str:
    """A namespace that takes only pods of the Pod Security level `restricted`."""
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "restricted", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "pods", "namespace": "restricted"}}
    for body in (namespace, account):
        create(embedded_cluster, body)
    return "restricted"


def create(where: Cluster, body: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [toolchain.resolve("kubectl"), "--kubeconfig", str(where.place.kubeconfig), "create", "--filename=-", *words],
        input=yaml.safe_dump(body),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_every_pod_is_let_into_a_restricted_namespace(
    embedded_cluster: Cluster, restricted: str, render: Render, values: Values
) -> None:
    pods = [pod for each in render(values).workloads for pod in each.pod_templates]
    assert pods
    for pod in pods:
        spec = {**pod.spec, "serviceAccountName": "pods", "restartPolicy": "Never"}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": restricted}, "spec": spec}
        done = create(embedded_cluster, body, "--dry-run=server")
        assert done.returncode == 0, done.stderr


def test_restricted_namespace_turns_other_pods_away(embedded_cluster: Cluster, restricted: str) -> None:
    container = {"name": "any", "image": "registry.example/any:1"}
    spec = {"serviceAccountName": "pods", "containers": [container]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": restricted}, "spec": spec}
    done = create(embedded_cluster, body, "--dry-run=server")
    assert "violates PodSecurity" in done.stderr
