"""The admission policy of the kind cluster, on the real API server of the embedded one."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from chartproof.cluster import Cluster
from chartproof.release import dig
from ci.kind.__main__ import HERE

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("kind-admission")]

_SECONDS = 30


def pod(**requests: str) -> dict[str, Any]:
    container = {"name": "engine", "image": "engine:1", "resources": {"requests": requests, "limits": requests}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "engine", "namespace": "default"},
        "spec": {"containers": [container]},
    }


def test_an_engine_asks_for_little_memory_and_everything_else_for_its_own(embedded_cluster: Cluster) -> None:
    api = embedded_cluster.api
    for each in yaml.safe_load_all((HERE / "admission.yaml").read_text()):
        api.apply(each)

    def memory(body: dict[str, Any]) -> str:
        path = "/api/v1/namespaces/default/pods"
        made = api.request("POST", path, parameters={"dryRun": "All"}, body=body)
        return str(dig(made, "spec", "containers", 0, "resources", "requests", "memory"))

    engine = pod(cpu="100m", memory="8Gi", **{"nvidia.com/gpu": "1"})
    try:
        deadline = time.monotonic() + _SECONDS
        while memory(engine) != "256Mi":
            # The server follows its policies with a delay.
            assert time.monotonic() < deadline, "the policy never applied"
            time.sleep(0.2)
        assert memory(pod(cpu="100m", memory="8Gi")) == "8Gi"
    finally:
        for kind in ("MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"):
            api.delete("admissionregistration.k8s.io/v1", kind, "engines-ask-for-little-memory")
