"""The script of `helm test` as the chart renders it, run for real: a played engine, a told API server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chartproof.cluster.machines.engine_api import Terms
from chartproof.cluster.machines.engine_server import Settings
from chartproof.release import Document, Release
from tests import presets
from tests.cluster.machines import engines
from tests.operations.servers import Told, played, telling

pytestmark = pytest.mark.slow

NAME = "qwen2-5-7b-g5-llm-inference"
READY = {"type": "Ready", "status": "True"}
SCALED = f"/apis/keda.sh/v1alpha1/namespaces/llm/scaledobjects/{NAME}"
HPA = f"/apis/autoscaling/v2/namespaces/llm/horizontalpodautoscalers/keda-hpa-{NAME}"
DEPLOYMENT = f"/apis/apps/v1/namespaces/llm/deployments/{NAME}"
GROUPS = f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/llm/leaderworkersets/{NAME}"


@dataclass(frozen=True)
class Ran:
    """How the script ended, and its lines."""

    code: int
    lines: list[str]

    def line(self, check: str) -> str:
        (found,) = [each for each in self.lines if each[7:].startswith(check + ":")]
        return found


def _release(stem: str) -> Release:
    return presets.render(stem)


def _data(release: Release) -> Mapping[str, str]:
    (document,) = [each for each in release.of_kind("ConfigMap") if "check.py" in each.body["data"]]
    data: Mapping[str, str] = document.body["data"]
    return data


def _pod(release: Release) -> Document:
    (pod,) = release.of_kind("Pod")
    return pod


def _settings(model: str = "qwen2.5-7b", kind: str = "vllm", **changes: Any) -> Settings:
    version = (0, 33, 0) if kind == "vllm" else (0, 5, 23)
    terms = Terms((model,), "s3://models/qwen/", version, 8192)
    return engines.settings(kind, version, terms=terms, load_seconds=1.0, **changes)


def _cluster(release: Release, prometheus: str, **changes: Any) -> Told:
    """An API server with this release's autoscaler, in good health unless something else is said of it."""
    (scaled,) = release.of_kind("ScaledObject")
    spec = json.loads(json.dumps(scaled.body["spec"]))
    for each in spec["triggers"]:
        if each["type"] == "prometheus":
            each["metadata"]["serverAddress"] = prometheus
    workload = GROUPS if any(release.of_kind("LeaderWorkerSet")) else DEPLOYMENT
    status = {"conditions": [READY], "hpaName": f"keda-hpa-{scaled.name}"}
    answers = {
        SCALED: {"spec": spec, "status": {**status, **changes.get("scaled", {})}},
        HPA: {"status": {"conditions": changes.get("hpa", [{"type": "ScalingActive", "status": "True"}])}},
        workload: {"spec": {"replicas": changes.get("replicas", 1)}},
    }
    return Told({path.replace(NAME, scaled.name): (200, body) for path, body in answers.items()})


def _run(
    release: Release, where: Path, engine: str, cluster: str = "", *, seconds: float = 2, **environment: str
) -> Ran:
    """The pod's command, with what the cluster would resolve put in its place."""
    data = _data(release)
    plan = json.loads(data["check.json"])
    plan["timeoutSeconds"] = seconds
    for each in plan["checks"]:
        if "url" in each:
            scheme, _, rest = each["url"].partition("://")
            assert scheme == "http"
            assert rest.partition("/")[0].partition(":")[0].endswith(".llm.svc")
            each["url"] = f"{engine}/{rest.partition('/')[2]}"
    (where / "check.py").write_text(data["check.py"])
    (where / "check.json").write_text(json.dumps(plan))
    (container,) = _pod(release).get("spec", "containers")
    command = [sys.executable, *container["command"][1:]]
    command = [each.replace("/opt/operations", str(where)) for each in command]
    variables = {"PATH": "/usr/bin", "KUBERNETES_URL": cluster, **environment}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return Ran(done.returncode, done.stdout.splitlines())


@contextmanager
def _all_well(release: Release, settings: Settings | None = None, **changes: Any) -> Iterator[tuple[str, Told, Told]]:
    """A played engine, an API server and a Prometheus."""
    prometheus = Told(queries=changes.pop("queries", {}))
    with (
        played(settings or _settings()) as engine,
        telling(prometheus),
        telling(_cluster(release, prometheus.url, **changes)) as cluster,
    ):
        yield engine, cluster, prometheus


@pytest.mark.parametrize(
    ("stem", "kind", "model"),
    [
        ("qwen2.5-7b-g5", "vllm", "qwen2.5-7b"),
        ("qwen3-8b-g6e-sglang", "sglang", "qwen3-8b"),
    ],
)
def test_everything_holds_for_a_model_that_is_well(tmp_path: Path, stem: str, kind: str, model: str) -> None:
    release = _release(stem)
    with _all_well(release, _settings(model, kind)) as (engine, cluster, _):
        ran = _run(release, tmp_path, engine, cluster.url)
    assert ran.lines[-1] == "5 of 5 checks hold"
    assert ran.code == 0
    assert "total" not in ran.line("answer")
    assert f"{model} answered in" in ran.line("answer")


@pytest.mark.parametrize(
    ("stem", "queries"),
    # Running and waiting; office hours are no query, what wakes is one.
    [("qwen2.5-7b-g5", 2), ("kimi-k2.5-p5-groups", 3)],
)
def test_a_model_at_zero_is_asleep_and_only_its_autoscaler_is_asked(tmp_path: Path, stem: str, queries: int) -> None:
    release = _release(stem)
    hpa = [{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}]
    with _all_well(release, replicas=0, hpa=hpa) as (_, cluster, prometheus):
        ran = _run(release, tmp_path, "http://127.0.0.1:9", cluster.url)
    assert ran.code == 0
    assert [each.split()[0] for each in ran.lines] == ["ok", "ok", "asleep", "asleep", "asleep", "5"]
    assert len(prometheus.asked) == queries


def test_a_model_that_should_be_there_and_does_not_answer_fails(tmp_path: Path) -> None:
    release = _release("qwen2.5-7b-g5")
    with _all_well(release) as (_, cluster, _):
        ran = _run(release, tmp_path, "http://127.0.0.1:9", cluster.url)
    assert ran.code == 1
    assert ran.lines[-1] == "2 of 5 checks hold"
    assert ran.line("health").startswith("FAILED health: http://127.0.0.1:9/health: ")


def test_a_model_of_another_name_neither_answers_nor_is_measured(tmp_path: Path) -> None:
    release = _release("qwen2.5-7b-g5")
    with _all_well(release, _settings("something-else")) as (engine, cluster, _):
        ran = _run(release, tmp_path, engine, cluster.url)
    assert ran.code == 1
    assert "answers 404" in ran.line("answer")
    assert 'vllm:num_requests_running{model_name="qwen2.5-7b"} for other labels only' in ran.line("metrics")
    assert ran.line("health").startswith("ok")


def test_an_engine_whose_metrics_are_off_fails_by_them_alone(tmp_path: Path) -> None:
    release = _release("qwen3-8b-g6e-sglang")
    with _all_well(release, _settings("qwen3-8b", "sglang", metrics=False)) as (engine, cluster, _):
        ran = _run(release, tmp_path, engine, cluster.url)
    assert [each[:6] for each in ran.lines[:-1]] == ["ok    "] * 4 + ["FAILED"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scaled": {"conditions": []}}, "KEDA has not looked at it"),
        ({"scaled": {"conditions": [{"type": "Ready", "status": "False", "message": "no such host"}]}}, "no such host"),
        ({"scaled": {"conditions": [READY, {"type": "Paused", "status": "True"}]}}, "is paused"),
        ({"scaled": {"conditions": [READY, {"type": "Fallback", "status": "True"}]}}, "holds its fallback"),
        ({"scaled": {"health": {"s0": {"status": "Failing", "numberOfFailures": 7}}}}, "KEDA cannot read s0: 7"),
        ({"scaled": {"hpaName": "other"}}, "there is no HorizontalPodAutoscaler other"),
        (
            {"hpa": [{"type": "ScalingActive", "status": "False", "message": "no metrics returned"}]},
            "does not act: no metrics returned",
        ),
    ],
)
def test_an_autoscaler_that_is_not_well_fails(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    release = _release("qwen2.5-7b-g5")
    with _all_well(release, **changes) as (engine, cluster, _):
        ran = _run(release, tmp_path, engine, cluster.url, seconds=0)
    assert ran.code == 1
    assert said in ran.line("autoscaler")
    assert ran.lines[-1] == "4 of 5 checks hold"


@pytest.mark.parametrize(("values", "said"), [([], "has nothing"), ([1.0, 2.0], "has 2")])
def test_a_trigger_without_exactly_one_value_is_blindness(tmp_path: Path, values: list[float], said: str) -> None:
    release = _release("qwen2.5-7b-g5")
    with _all_well(release, queries={"num_requests_waiting": values}) as (engine, cluster, _):
        ran = _run(release, tmp_path, engine, cluster.url, seconds=0)
    assert ran.code == 1
    assert f"{said} for the trigger waiting, not one value" in ran.line("triggers")


def test_a_prometheus_that_is_away_is_blindness(tmp_path: Path) -> None:
    release = _release("qwen2.5-7b-g5")
    with played(_settings()) as engine, telling(_cluster(release, "http://127.0.0.1:9")) as cluster:
        ran = _run(release, tmp_path, engine, cluster.url, seconds=0)
    assert ran.line("triggers").startswith("FAILED triggers: http://127.0.0.1:9: ")


def test_what_comes_up_in_time_is_waited_for(tmp_path: Path) -> None:
    release = _release("qwen2.5-7b-g5")
    with _all_well(release, scaled={"conditions": []}) as (engine, cluster, _):
        good = _cluster(release, cluster.answers[SCALED][1]["spec"]["triggers"][0]["metadata"]["serverAddress"])
        asked = cluster.answer
        seen = []

        def later(path: str) -> tuple[int, Any]:
            seen.append(path)
            return good.answer(path) if len(seen) > 1 else asked(path)

        cluster.answer = later  # type: ignore[method-assign]
        ran = _run(release, tmp_path, engine, cluster.url, seconds=20)
    assert ran.code == 0
    assert seen.count(SCALED) >= 2


def test_the_key_is_sent(tmp_path: Path) -> None:
    release = _release("mistral-7b-generic")
    (container,) = _pod(release).get("spec", "containers")
    (variable,) = container["env"]
    assert variable == {
        "name": "API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "mistral-7b-api-key", "key": "api-key"}},
    }
    settings = _settings("mistral-7b", key_needed=True, api_keys=("sk-right",))
    for key, line in (("sk-right", "ok"), ("sk-wrong", "FAILED answer: ")):
        with _all_well(release, settings) as (engine, cluster, _):
            ran = _run(release, tmp_path, engine, cluster.url, seconds=0, API_KEY=key)
        assert ran.line("answer").startswith(line)
        if key == "sk-wrong":
            assert "answers 401" in ran.line("answer")


@pytest.mark.parametrize(
    ("vector", "line"),
    [([0.1, 0.2], "ok     answer"), ([], "FAILED answer"), (None, "FAILED answer")],
)
def test_a_model_that_embeds_is_asked_for_a_vector(tmp_path: Path, vector: list[float] | None, line: str) -> None:
    release = _release("qwen3-embedding-8b-g5")
    plan = json.loads(_data(release)["check.json"])
    series = next(each for each in plan["checks"] if each["check"] == "metrics")["series"]
    assert not [each for each in series if "generation" in each]
    metrics = "".join(f'{each}{{model_name="qwen3-embedding-8b"}} 1\n' for each in series)
    items = [] if vector is None else [{"embedding": vector}]
    answers = {
        "/health": (200, ""),
        "/v1/embeddings": (200, {"data": items, "usage": {"total_tokens": 5}}),
        "/metrics": (200, metrics),
    }
    prometheus = Told()
    with (
        telling(Told(answers)) as engine,
        telling(prometheus),
        telling(_cluster(release, prometheus.url)) as cluster,
    ):
        ran = _run(release, tmp_path, engine.url, cluster.url, seconds=0)
    assert ran.line("answer").startswith(line)
    assert ran.code == (0 if line.startswith("ok") else 1)
    (asked,) = [json.loads(body) for method, path, _, body in engine.asked if path == "/v1/embeddings"]
    assert asked["model"] == "qwen3-embedding-8b"


@pytest.mark.parametrize(
    ("engine", "task", "path", "answer"),
    [
        ("vllm", "rerank", "/v1/rerank", {"results": [{"index": 0, "relevance_score": 0.0}]}),
        ("sglang", "rerank", "/v1/rerank", [{"index": 0, "score": 0.0}]),
        ("vllm", "classify", "/classify", {"data": [{"label": "yes"}]}),
        ("sglang", "classify", "/v1/classify", {"data": [{"label": "yes"}]}),
    ],
)
def test_models_that_judge_are_asked_to_by_their_engine_s_path(
    tmp_path: Path, engine: str, task: str, path: str, answer: Any
) -> None:
    release = presets.render("qwen3-embedding-8b-g5", f"engine: {{type: {engine}, task: {task}}}")
    with telling(Told({path: (200, answer)})) as server:
        ran = _run(release, tmp_path, server.url, server.url, seconds=0)
    assert ran.line("answer").startswith("ok")
    with telling(Told({path: (200, {"error": "none"})})) as server:
        ran = _run(release, tmp_path, server.url, server.url, seconds=0)
    assert ran.line("answer").startswith("FAILED")


def test_a_bearer_of_the_values_is_sent_to_prometheus(tmp_path: Path) -> None:
    values = "autoscaling: {prometheus: {authentication: {mode: bearer, existingSecret: prometheus}}}"
    release = presets.render("qwen2.5-7b-g5", values)
    (container,) = _pod(release).get("spec", "containers")
    assert [each["name"] for each in container["env"]] == ["PROMETHEUS_TOKEN"]
    with _all_well(release) as (engine, cluster, prometheus):
        _run(release, tmp_path, engine, cluster.url, PROMETHEUS_TOKEN="abc")  # noqa: S106
    assert {headers["Authorization"] for _, _, headers, _ in prometheus.asked} == {"Bearer abc"}


def test_a_plan_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text(_data(_release("qwen2.5-7b-g5"))["check.py"])
    done = subprocess.run([sys.executable, script, "none.json"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 2


def test_without_an_autoscaler_nothing_is_asked_of_the_cluster_and_no_token_is_mounted() -> None:
    release = _release("qwen2.5-7b-g5-al2023")
    plan = json.loads(_data(release)["check.json"])
    assert [each["check"] for each in plan["checks"]] == ["health", "answer", "metrics"]
    assert _pod(release).get("spec", "automountServiceAccountToken") is False
    assert not list(release.of_kind("Role"))


def test_both_roles_of_a_disaggregated_model_are_asked_behind_its_router() -> None:
    release = _release("llama-3.3-70b-fp8-g7e-disaggregated")
    plan = json.loads(_data(release)["check.json"])
    assert [each["check"] for each in plan["checks"]] == [
        *("autoscaler", "triggers", "autoscaler", "triggers", "health", "answer", "metrics", "metrics"),
    ]
    services = {each.name for each in release.of_kind("Service")}
    asked = {each["url"].split("//")[1].split(".")[0] for each in plan["checks"] if "url" in each}
    assert asked == services


def test_the_pod_may_read_what_it_asks_for_and_nothing_else() -> None:
    release = _release("qwen2.5-7b-g5")
    (role,) = [each for each in release.of_kind("Role") if each.name == _pod(release).name]
    for each in role.body["rules"]:
        assert each["verbs"] == ["get"]
        assert [name.removeprefix("keda-hpa-") for name in each["resourceNames"]] == [NAME]
    hooks = [each for each in release.documents if "helm.sh/hook" in each.annotations]
    assert {each.kind for each in hooks} == {"Pod", "Role", "RoleBinding", "ServiceAccount"}
    assert {each.annotations["helm.sh/hook"] for each in hooks} == {"test"}


def test_a_model_over_several_nodes_is_looked_for_where_it_is() -> None:
    release = _release("glm-5-p5-groups")
    plan = json.loads(_data(release)["check.json"])
    (workload,) = release.of_kind("LeaderWorkerSet")
    path = f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/llm/leaderworkersets/{workload.name}"
    assert [each["path"] for each in plan["scaled"]] == [path]
    (role,) = [each for each in release.of_kind("Role") if each.name == _pod(release).name]
    assert ["leaderworkersets"] in [each["resources"] for each in role.body["rules"]]


def test_a_gateway_is_asked_whether_it_is_ready_and_nothing_through_it(tmp_path: Path) -> None:
    alone = """
engine: {enabled: false}
autoscaling: {enabled: false}
nodes: {create: false}
gateway: {models: {llama-3.1-8b: {targets: [{name: a, type: openai, url: 'http://a.llm.svc/v1'}]}}}
"""
    release = presets.render("llama-3.1-8b-g6e-gateway", alone)
    for status, line in ((200, "ok     gateway"), (503, "FAILED gateway")):
        with telling(Told({"/health/readiness": (status, {"status": "connected"})})) as gateway:
            ran = _run(release, tmp_path, gateway.url, seconds=0)
        assert ran.lines[0].startswith(line)
        assert len(gateway.asked) == 1
    labels = _pod(release).body["metadata"]["labels"]
    (policy,) = release.of_kind("NetworkPolicy")
    allowed = policy.get("spec", "ingress", 0, "from")
    assert any(
        each["podSelector"]["matchLabels"].items() <= labels.items() for each in allowed if "podSelector" in each
    )


def test_network_policies_let_the_test_through() -> None:
    for stem in ("qwen2.5-7b-g5", "llama-3.3-70b-fp8-g7e-disaggregated"):
        release = _release(stem)
        labels = _pod(release).body["metadata"]["labels"]
        policies = [each for each in release.of_kind("NetworkPolicy") if each.get("spec", "ingress")]
        assert policies
        for policy in policies:
            selectors = [
                peer["podSelector"]["matchLabels"]
                for ingress in policy.get("spec", "ingress")
                for peer in ingress.get("from", [])
                if "podSelector" in peer
            ]
            assert any(each.items() <= labels.items() for each in selectors), policy.name
