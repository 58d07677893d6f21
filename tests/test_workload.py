"""Engines are recognised, and their options read, on manifests of any origin."""

from __future__ import annotations

from typing import Any

import pytest

from chartproof.release import Document, Release
from chartproof.workload import EngineContainer, ImageReference, engines_of, recognise_engine


def engine_of(container: dict[str, Any], kind: str = "Deployment", **spec: Any) -> EngineContainer:
    pod = {"spec": {"containers": [container]}}
    body = {"kind": kind, "metadata": {"name": "m"}, "spec": {"template": pod, **spec}}
    if kind == "LeaderWorkerSet":
        body["spec"] = {"leaderWorkerTemplate": {"workerTemplate": pod, **spec}}
    engines = engines_of(Release("r", (Document(body),)))
    assert len(engines) == 1
    return engines[0]


@pytest.mark.parametrize(
    ("container", "engine"),
    [
        ({"command": ["vllm", "serve", "m"]}, "vllm"),
        ({"command": ["/opt/venv/bin/vllm", "serve"], "args": ["m"]}, "vllm"),
        ({"command": ["python3", "-m", "vllm.entrypoints.openai.api_server"]}, "vllm"),
        ({"command": ["/bin/bash", "-c"], "args": ["pip install x && exec vllm serve m"]}, "vllm"),
        ({"command": ["/usr/bin/tini", "--", "sh", "-c", "exec vllm serve m"]}, "vllm"),
        ({"image": "vllm/vllm-openai:v0.33.0", "args": ["--model", "m"]}, "vllm"),
        ({"image": "123.dkr.ecr.eu-central-1.amazonaws.com/hub/vllm/vllm-openai@sha256:00"}, "vllm"),
        ({"command": ["python3", "-m", "sglang.launch_server"]}, "sglang"),
        ({"image": "lmsysorg/sglang:v0.5.23", "command": ["sglang", "serve", "m"]}, "sglang"),
        ({"image": "vllm/vllm-openai:v0.33.0", "command": ["python3", "/scripts/download.py"]}, None),
        ({"image": "vllm/vllm-openai:v0.33.0", "command": ["sh", "-c", "ls /cache/vllm"]}, None),
        ({"image": "lmcache/lmstack-router:v1", "args": ["--engine", "vllm"]}, None),
        ({"image": "nginx:1.29"}, None),
    ],
)
def test_a_container_is_an_engine_by_what_it_starts(container: dict[str, Any], engine: str | None) -> None:
    assert recognise_engine(container) == engine


def test_options_are_read_behind_a_shell_with_its_quotes_and_variables() -> None:
    script = """
    # warm up
    mkdir -p /cache/vllm
    exec vllm serve "$MODEL" --port=${PORT:-8000} --max-model-len 8k \\
      --override-generation-config '{"temperature": 0}' --tensor-parallel-size $(nvidia-smi -L | wc -l) 2>&1 | tee /log
    """
    engine = engine_of({"command": ["bash", "-c", script], "env": [{"name": "MODEL", "value": "org/model"}]})
    assert engine.model == "org/model"
    assert engine.port == 8000
    assert engine.option("--override-generation-config") == '{"temperature": 0}'
    assert engine.option("--tensor-parallel-size") == "$UNKNOWN"
    assert engine.launch.replaces_shell
    assert engine.launch.commands[engine.launch.position].after == "|"


def test_arguments_behind_a_script_reach_the_engine_where_the_script_passes_them_on() -> None:
    script = 'exec vllm serve "$0" "$@"'
    engine = engine_of({"command": ["sh", "-c", script], "args": ["org/model", "--port", "9000", "-tp=2"]})
    assert (engine.model, engine.port, engine.tensor_parallel_size) == ("org/model", 9000, 2)


def test_a_boolean_option_does_not_swallow_the_model() -> None:
    engine = engine_of({"command": ["vllm", "serve", "--enforce-eager", "org/model", "--max_model_len", "4096"]})
    assert engine.model == "org/model"
    assert engine.option("--enforce-eager") == ""
    assert engine.integer("--max-model-len", default=0) == 4096


def test_a_word_that_looks_like_the_value_of_a_boolean_is_kept_as_its_value() -> None:
    engine = engine_of({"command": ["vllm", "serve", "m", "--enable-prefix-caching", "True"]})
    assert engine.option("--enable-prefix-caching") == "True"


def test_kubernetes_references_are_replaced_by_literal_environment_variables() -> None:
    engine = engine_of(
        {
            "command": ["vllm", "serve", "$(MODEL)", "--port", "$(PORT)"],
            "env": [{"name": "PORT", "value": "9000"}, {"name": "MODEL", "valueFrom": {"configMapKeyRef": {}}}],
        }
    )
    assert (engine.model, engine.port) == ("$(MODEL)", 9000)


def test_the_group_size_of_a_leader_worker_set_reaches_the_options() -> None:
    engine = engine_of(
        {"command": ["vllm", "serve", "m", "-pp", "$(LWS_GROUP_SIZE)", "--nnodes=$(LWS_GROUP_SIZE)"]},
        kind="LeaderWorkerSet",
        size=3,
    )
    assert (engine.pipeline_parallel_size, engine.group_size) == (3, 3)


@pytest.mark.parametrize(
    ("words", "kind", "pods"),
    [
        ([], "Deployment", 1),
        (["--nnodes", "2"], "StatefulSet", 2),
        ([], "LeaderWorkerSet", 3),
        (["--nnodes", "$(LWS_GROUP_SIZE)"], "LeaderWorkerSet", 3),
        (["--nnodes", "$(ELSEWHERE)"], "LeaderWorkerSet", 3),
    ],
)
def test_a_replica_has_the_pods_that_its_ranks_are_spread_over(words: list[str], kind: str, pods: int) -> None:
    assert engine_of({"command": ["vllm", "serve", "m", *words]}, kind=kind, size=3).pods_per_replica == pods


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.33.0", (0, 33, 0)),
        ("cache.example/hub/vllm/vllm-openai:v0.20.1-cu129", (0, 20, 1)),
        ("vllm/vllm-openai:latest", None),
        ("lmcache/vllm-openai:v0.3.9", None),
        ("ghcr.io/llm-d/llm-d-cuda:v0.4.0", None),
    ],
)
def test_the_version_is_read_only_from_images_numbered_after_the_engine(
    image: str, version: tuple[int, int, int] | None
) -> None:
    assert engine_of({"image": image, "command": ["vllm", "serve", "m"]}).version == version


@pytest.mark.parametrize(
    ("container", "gpus"),
    [
        ({"image": "vllm/vllm-openai:v0.33.0"}, True),
        ({"image": "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:v0.33.0"}, False),
        ({"image": "vllm/vllm-openai:v0.33.0", "resources": {"limits": {"amd.com/gpu": 1}}}, False),
        ({"image": "vllm/vllm-openai:v0.33.0", "resources": {"limits": {"nvidia.com/mig-1g.10gb": 1}}}, False),
        ({"image": "vllm/vllm-openai:v0.33.0", "resources": {"claims": [{"name": "gpu"}]}}, False),
    ],
)
def test_engines_for_other_accelerators_are_told_apart(container: dict[str, Any], gpus: bool) -> None:
    assert engine_of(container).uses_nvidia_gpus is gpus


def test_a_registry_port_is_no_tag() -> None:
    assert ImageReference.parse("registry:5000/a/b") == ImageReference("registry:5000/a/b", "", "")
    pinned = ImageReference.parse("registry:5000/a/b:v1@sha256:00")
    assert pinned == ImageReference("registry:5000/a/b", "v1", "sha256:00")
