from __future__ import annotations

from typing import Any

import pytest
import yaml

from chartproof.plan import WorkloadPlan, plan_release
from chartproof.plan.deliveries import compare_deliveries
from chartproof.plan.workload_plan import human_integer
from chartproof.release import Document, Release
from tests import presets

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: llama}
spec:
  template:
    metadata: {annotations: {}}
    spec:
      nodeSelector: {node.kubernetes.io/instance-type: g6e.xlarge}
      containers:
        - name: engine
          image: vllm/vllm-openai:v0.33.0
          command: [vllm, serve]
          args: [meta-llama/Llama-3.1-8B-Instruct, --gpu-memory-utilization=0.9, --max-model-len, "32768"]
          resources: {limits: {nvidia.com/gpu: 1}}
"""


class Workbench:
    """Builds a release around one Deployment and plans it."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = yaml.safe_load(MANIFEST)
        self.others: list[dict[str, Any]] = []

    @property
    def pod(self) -> dict[str, Any]:
        pod: dict[str, Any] = self.body["spec"]["template"]
        return pod

    @property
    def engine(self) -> dict[str, Any]:
        container: dict[str, Any] = self.pod["spec"]["containers"][0]
        return container

    def release(self) -> Release:
        return Release("test", tuple(Document(each) for each in (self.body, *self.others)))

    def plan(self) -> WorkloadPlan:
        (plan,) = plan_release(self.release())
        return plan


@pytest.fixture
def workbench() -> Workbench:
    return Workbench()


BOTTLEROCKET = {
    "apiVersion": "karpenter.k8s.aws/v1",
    "kind": "EC2NodeClass",
    "metadata": {"name": "gpu"},
    "spec": {
        "amiSelectorTerms": [{"alias": "bottlerocket@v1.62.1"}],
        "userData": '[settings.container-runtime]\nsnapshotter = "soci"\n',
    },
}


def test_a_plain_vllm_deployment_is_planned(workbench: Workbench) -> None:
    plan = workbench.plan()
    assert plan.model.id == "meta-llama/Llama-3.1-8B-Instruct"
    assert plan.precision == "bf16"
    assert [each.name for each in plan.candidates] == ["g6e.xlarge"]
    assert plan.usd_per_hour == 1.861
    assert plan.smallest_fit is not None
    assert plan.smallest_fit.fits


def test_an_unknown_model_has_no_plan(workbench: Workbench) -> None:
    workbench.engine["args"] = ["acme/secret-model"]
    assert plan_release(workbench.release()) == []


def test_an_unknown_model_is_planned_from_its_annotated_weights(workbench: Workbench) -> None:
    workbench.engine["args"] = ["acme/secret-model"]
    workbench.pod["metadata"]["annotations"]["chartproof.io/weights-gigabytes"] = "10"
    plan = workbench.plan()
    assert plan.weights_gigabytes == 10
    assert plan.concurrency is None


@pytest.mark.parametrize(
    ("arguments", "precision", "gigabytes"),
    [
        (["hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4"], "awq-int4", 5.7),
        (["meta-llama/Llama-3.1-8B-Instruct", "--quantization=fp8"], "fp8", 9.1),
        (["s3://bucket/llama-3.1-8b-instruct", "--load-format", "runai_streamer"], "bf16", 16.1),
        (["/models/x", "--served-model-name", "llama-3.1-8b-instruct"], "bf16", 16.1),
    ],
)
def test_precision_and_weights_are_read_from_what_the_engine_is_told(
    workbench: Workbench, arguments: list[str], precision: str, gigabytes: float
) -> None:
    workbench.engine["args"] = arguments
    plan = workbench.plan()
    assert (plan.precision, plan.weights_gigabytes) == (precision, gigabytes)


@pytest.mark.parametrize(
    ("model", "volumes", "delivery"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", [], "huggingface"),
        ("s3://b/llama-3.1-8b-instruct", [], "stream"),
        ("/models/llama-3.1-8b-instruct", [{"name": "models", "emptyDir": {}}], "initDownload"),
        ("/models/llama-3.1-8b-instruct", [{"name": "models", "persistentVolumeClaim": {"claimName": "c"}}], "volume"),
        ("/models/llama-3.1-8b-instruct", [], "image"),
    ],
)
def test_delivery_is_read_from_path_and_volumes(
    workbench: Workbench, model: str, volumes: list[dict[str, object]], delivery: str
) -> None:
    workbench.engine["args"] = [model]
    workbench.pod["spec"]["volumes"] = volumes
    workbench.engine["volumeMounts"] = [{"name": each["name"], "mountPath": "/models"} for each in volumes]
    assert workbench.plan().delivery == delivery


def test_a_download_by_init_container_is_not_part_of_the_startup_probe(workbench: Workbench) -> None:
    workbench.engine["args"] = ["/models/llama-3.1-8b-instruct"]
    workbench.pod["spec"]["volumes"] = [{"name": "models", "emptyDir": {}}]
    workbench.engine["volumeMounts"] = [{"name": "models", "mountPath": "/models"}]
    plan = workbench.plan()
    download = next(each for each in plan.cold_start.phases if each.name == "weights download")
    assert not download.in_container
    assert plan.cold_start.in_container_seconds < plan.cold_start.seconds - download.seconds


def test_an_engine_that_downloads_by_itself_does_so_inside_the_startup_probe(workbench: Workbench) -> None:
    phases = {each.name: each for each in workbench.plan().cold_start.phases}
    assert phases["weights download"].in_container


def test_parallel_image_pull_of_the_node_class_shortens_the_pull(workbench: Workbench) -> None:
    plain = {each.name: each.seconds for each in workbench.plan().cold_start.phases}
    workbench.others.append(BOTTLEROCKET)
    soci = {each.name: each.seconds for each in workbench.plan().cold_start.phases}
    assert plain["image pull"] == pytest.approx(130.8, rel=0.02)
    assert soci["image pull"] == pytest.approx(23.2, rel=0.02)


def test_eager_mode_and_a_compile_cache_shorten_initialisation(workbench: Workbench) -> None:
    def initialisation() -> float:
        return next(each.seconds for each in workbench.plan().cold_start.phases if each.name == "engine initialisation")

    full = initialisation()
    workbench.engine["env"] = [{"name": "VLLM_CACHE_ROOT", "value": "/cache/key"}]
    workbench.engine["volumeMounts"] = [{"name": "cache", "mountPath": "/cache"}]
    workbench.pod["spec"]["volumes"] = [{"name": "cache", "persistentVolumeClaim": {"claimName": "c"}}]
    cached = initialisation()
    workbench.engine["args"].append("--enforce-eager")
    assert initialisation() < cached < full


def test_the_measured_run_on_a_fresh_node_is_reproduced(workbench: Workbench) -> None:
    """Phases of data-on-eks (g6e.2xlarge, 15 GiB streamed at 860 MiB/s), on a faster network."""
    workbench.pod["spec"]["nodeSelector"] = {"node.kubernetes.io/instance-type": "g6e.4xlarge"}
    workbench.engine["args"] = ["s3://b/llama-3.1-8b-instruct", "--load-format", "runai_streamer"]
    phases = {each.name: each.seconds for each in workbench.plan().cold_start.phases}
    assert phases["weights load"] == pytest.approx(17.8, rel=0.05)
    assert workbench.plan().cold_start.warm_node_seconds == pytest.approx(91 + 15, rel=0.05)


def test_pools_and_affinity_bound_the_candidates(workbench: Workbench) -> None:
    del workbench.pod["spec"]["nodeSelector"]
    assert workbench.plan().candidates == ()
    requirement = {"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["g6e", "g5"]}
    workbench.others.append(
        {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": {"name": "gpu"},
            "spec": {"template": {"spec": {"requirements": [requirement]}}},
        }
    )
    expression = {"key": "karpenter.k8s.aws/instance-gpu-memory", "operator": "Gt", "values": ["30000"]}
    workbench.pod["spec"]["affinity"] = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [expression]}]
            }
        }
    }
    families = {each.family for each in workbench.plan().candidates}
    assert families == {"g6e"}


def test_prices_are_those_of_the_cheapest_candidate_and_of_the_gpus_used(workbench: Workbench) -> None:
    workbench.pod["spec"]["nodeSelector"] = {"node.kubernetes.io/instance-type": "g6e.12xlarge"}
    workbench.engine["args"] += ["--tensor-parallel-size", "2"]
    assert workbench.plan().usd_per_hour == pytest.approx(10.49264 / 2)


def test_every_delivery_is_compared_and_shared_ones_slow_down_with_replicas(workbench: Workbench) -> None:
    one = {each.delivery: each for each in compare_deliveries(workbench.plan(), replicas=1)}
    many = {each.delivery: each for each in compare_deliveries(workbench.plan(), replicas=32)}
    assert set(one) == {"huggingface", "initDownload", "stream", "volume", "fsx", "nvme", "image"}
    assert many["volume"].transfer_seconds > one["volume"].transfer_seconds
    assert many["stream"].transfer_seconds == one["stream"].transfer_seconds
    assert one["nvme"].transfer_seconds == 0
    assert one["image"].cold_start.seconds > one["nvme"].cold_start.seconds


@pytest.mark.parametrize(("text", "number"), [("4096", 4096), ("8k", 8000), ("8K", 8192), ("auto", None), ("-1", None)])
def test_lengths_are_read_as_vllm_reads_them(text: str, number: int | None) -> None:
    assert human_integer(text) == number


def test_every_node_of_a_group_draws_on_a_shared_volume() -> None:
    (group,) = plan_release(presets.render("deepseek-v3.2-p5-groups"))
    (alone,) = plan_release(presets.render("gpt-oss-120b-p5-reserved"))
    # FSx for Lustre gives 1000 MB/s to one and 1200 MB/s to all.
    seconds = {
        plan.nodes: {each.delivery: each for each in compare_deliveries(plan, replicas=1)} for plan in (group, alone)
    }
    assert seconds[1]["fsx"].transfer_seconds == pytest.approx(65.2)
    assert seconds[2]["fsx"].transfer_seconds == pytest.approx(689 * 2 / 1.2)
