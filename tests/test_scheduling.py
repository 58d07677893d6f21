from __future__ import annotations

from typing import Any

import pytest

from chartproof.catalog import catalog
from chartproof.plan.candidates import candidate_instances
from chartproof.release import Document, Release
from chartproof.scheduling import GpuPod, Obstacle, blocked_by, gpu_pods, mismatches, needs_of

TAINT = {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"}
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists"}


def need(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


def pool(
    name: str, *requirements: dict[str, Any], group: str = "karpenter.k8s.aws", labels: dict[str, str] | None = None
) -> Document:
    node = {
        "nodeClassRef": {"group": group, "kind": "NodeClass", "name": "x"},
        "requirements": list(requirements),
        "taints": [TAINT],
    }
    template = {"metadata": {"labels": labels or {}}, "spec": node}
    return Document({"kind": "NodePool", "metadata": {"name": name}, "spec": {"template": template}})


def deployment(*, cpu: str = "3", memory: str = "10Gi", gpus: int = 1, **spec: Any) -> Document:
    requests = {"cpu": cpu, "memory": memory, "nvidia.com/gpu": gpus}
    body = {"containers": [{"name": "vllm", "resources": {"requests": requests}}], "tolerations": [TOLERATION], **spec}
    return Document({"kind": "Deployment", "metadata": {"name": "llm"}, "spec": {"template": {"spec": body}}})


def release(*documents: Document) -> Release:
    return Release("test", documents)


def only_pod(made: Release) -> GpuPod:
    (found,) = gpu_pods(made)
    return found


G5 = pool("g5", need("karpenter.k8s.aws/instance-family", "g5"), labels={"tier": "small"})
P5 = pool("p5", need("karpenter.k8s.aws/instance-family", "p5"), labels={"tier": "large"})


def test_a_pod_lands_on_the_pool_whose_labels_it_selects() -> None:
    made = release(G5, P5, deployment(nodeSelector={"tier": "large"}))
    assert [each.name for each in only_pod(made).placed_on(made)] == ["p5"]


def test_the_nearest_pool_says_what_is_wrong() -> None:
    made = release(G5, P5, deployment(nodeSelector={"tier": "large"}, tolerations=[]))
    found = list(blocked_by(only_pod(made), made, Obstacle.TAINT))
    assert [each.name for each, _ in found] == ["p5"], "g5 is further away: its label does not fit either"


def test_without_pools_nothing_is_blocked() -> None:
    made = release(deployment(nodeSelector={"tier": "large"}, tolerations=[]))
    assert not list(blocked_by(only_pod(made), made, Obstacle.TAINT))


def test_alternatives_of_affinity_count_as_alternatives() -> None:
    terms = [{"matchExpressions": [need("tier", value)]} for value in ("none", "large")]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    made = release(P5, deployment(affinity=affinity))
    assert not mismatches(only_pod(made), only_pod(made).placed_on(made)[0])


@pytest.mark.parametrize(
    ("resources", "fits"),
    [
        ({"cpu": "3", "memory": "12Gi"}, True),
        ({"cpu": "200", "memory": "12Gi"}, False),
        ({"cpu": "3", "memory": "900Gi"}, False),
        ({"gpus": 8}, True),
        ({"gpus": 16}, False),
    ],
)
def test_sizes_are_those_that_karpenter_plans_with(resources: dict[str, Any], fits: bool) -> None:
    made = release(G5, deployment(**resources))
    assert bool(only_pod(made).placed_on(made)) is fits


def test_init_containers_count_by_their_largest_and_sidecars_are_added() -> None:
    container = {"name": "vllm", "resources": {"requests": {"cpu": "2", "nvidia.com/gpu": 1}}}
    once = {"name": "download", "resources": {"requests": {"cpu": "6"}}}
    sidecar = {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}}
    document = deployment(containers=[container], initContainers=[once, sidecar])
    assert document.pod_template is not None
    assert needs_of(document.pod_template).millicpu == 6000
    document = deployment(containers=[container], initContainers=[sidecar])
    assert document.pod_template is not None
    assert needs_of(document.pod_template).millicpu == 3000


def candidates(made: Release) -> set[str]:
    pod = only_pod(made).pod
    return {each.name for each in candidate_instances(pod, made, catalog(), gpus=1)}


def test_candidates_are_those_of_the_pool_that_the_pod_can_land_on() -> None:
    made = release(G5, P5, deployment(nodeSelector={"tier": "large"}))
    assert candidates(made) == {"p5.4xlarge", "p5.48xlarge"}


def test_candidates_understand_auto_mode() -> None:
    auto = pool("auto", need("eks.amazonaws.com/instance-family", "g6", "g6e"), group="eks.amazonaws.com")
    made = release(auto, deployment(nodeSelector={"eks.amazonaws.com/instance-gpu-name": "l40s"}))
    assert candidates(made)
    assert all(name.startswith("g6e.") for name in candidates(made))


def test_candidates_are_none_where_nothing_says() -> None:
    assert not candidates(release(deployment()))


def test_candidates_without_pools_follow_the_pod() -> None:
    selector = {"nvidia.com/gpu.product": "NVIDIA-L4", "karpenter.k8s.aws/instance-gpu-count": "1"}
    found = candidates(release(deployment(nodeSelector=selector)))
    assert "g6.xlarge" in found
    assert "g5.xlarge" not in found
    assert "g6.48xlarge" not in found
