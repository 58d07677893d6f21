"""Engine features that are values: what each engine is told of them, from the version on that has them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chartproof.plan.workload_plan import plan_release
from chartproof.release import Release
from chartproof.rules import all_rules, check_release
from chartproof.workload import EngineContainer, engines_of
from tests.chart.conftest import Refusals, Render, Values, merged

BASE: Values = {"nodes": {"instanceTypes": ["g6e.4xlarge"]}}
ENGINES = ["vllm", "sglang"]
ADAPTERS: Values = {
    "sql": {"source": "hf://acme/sql-adapter", "revision": "1f0c2ab", "gigabytes": 0.4},
    "law": {"source": "s3://bucket/law", "revision": "7"},
}
DRAFT: Values = {"source": "hf://acme/draft", "revision": "9d2e", "gigabytes": 1.5}
BUCKET: Values = {
    "weights": {"source": {"s3": {"region": "eu-west-1"}}},
    "aws": {"identity": "podIdentity"},
}
#: Each feature, the values that switch it on, and the first version of each engine that has it.
FEATURES: dict[str, tuple[Values, dict[str, str]]] = {
    "queue limit": ({"maxNumQueuedRequests": 50, "maxNumSeqs": 64}, {"vllm": "0.29.0", "sglang": "0.5.10"}),
    "embeddings": ({"task": "embed"}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "classification": ({"task": "classify"}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "rerank": ({"task": "rerank"}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "tool calls": ({"toolCalling": {"parser": "mistral"}}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "named tools only": ({"toolCalling": {"parser": "mistral", "autoChoice": False}}, {"vllm": "0.11.1"}),
    "reasoning": ({"reasoningParser": "qwen3"}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "output backend": ({"structuredOutputBackend": "guidance"}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "adapters": ({"lora": {"adapters": {"sql": ADAPTERS["sql"]}}}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "n-grams": ({"speculative": {"method": "ngram"}}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "eagle": ({"speculative": {"method": "eagle", "draft": DRAFT}}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "eagle3": ({"speculative": {"method": "eagle3", "draft": DRAFT}}, {"vllm": "0.11.1", "sglang": "0.5.10"}),
    "mtp": ({"speculative": {"method": "mtp"}}, {"vllm": "0.13.0", "sglang": "0.5.10"}),
    "draft model": ({"speculative": {"method": "draftModel", "draft": DRAFT}}, {"vllm": "0.16.0", "sglang": "0.5.10"}),
    "offload": ({"kvOffloadGibibytes": 16}, {"vllm": "0.11.2", "sglang": "0.5.18"}),
}
OLDEST = {"vllm": "0.11.1", "sglang": "0.5.10"}
CASES = [(name, engine) for name, (_, since) in FEATURES.items() for engine in ENGINES if engine in since]
#: Those that not every supported version has.
LATER = [(name, engine) for name, engine in CASES if FEATURES[name][1][engine] != OLDEST[engine]]
#: Rules that judge an engine's command line.
COMMAND_LINE = tuple(each for each in all_rules() if each.id in {"LLM106", "LLM107", "LLM108", "LLM109", "LLM145"})


def container(release: Release) -> EngineContainer:
    (found,) = engines_of(release)
    return found


def told(release: Release) -> dict[str, str | None]:
    return {each.name: each.value for each in container(release).options}


def values(engine: str, *layers: Values, **more: Any) -> dict[str, Any]:
    return {"engine": merged({"type": engine}, *layers, more)}


def lower(version: str) -> str:
    """The release line before a version's: 0.16.0 -> 0.15.0, 0.5.18 -> 0.5.17, 0.11.2 -> 0.11.1."""
    major, minor, patch = (int(each) for each in version.split("."))
    return f"{major}.{minor}.{patch - 1}" if patch else f"{major}.{minor - 1}.0"


@pytest.mark.parametrize(("feature", "engine"), CASES)
def test_the_words_are_what_the_first_version_and_the_newest_take(render: Render, feature: str, engine: str) -> None:
    asked, since = FEATURES[feature]
    for version in (since[engine], None):
        release = render(BASE, values(engine, asked, version=version))
        findings = check_release(release, COMMAND_LINE)
        assert not findings, [str(each.message) for each in findings]


@pytest.mark.parametrize(("feature", "engine"), LATER)
def test_a_version_without_it_is_refused_and_named(refusals: Refusals, feature: str, engine: str) -> None:
    asked, since = FEATURES[feature]
    version = lower(since[engine])
    lines = refusals(BASE, values(engine, asked, version=version))
    assert any(line.startswith("[LLM019] engine.") and version in line and since[engine] in line for line in lines)


@pytest.mark.parametrize("feature", [name for name, (_, since) in FEATURES.items() if "sglang" not in since])
def test_what_only_vllm_has_is_refused_for_sglang(refusals: Refusals, feature: str) -> None:
    lines = refusals(BASE, values("sglang", FEATURES[feature][0]))
    assert any("SGLang has no" in line and "; write " in line for line in lines), lines


def test_adapters_are_downloaded_and_named_to_vllm(render: Render) -> None:
    release = render(BASE, BUCKET, values("vllm", lora={"adapters": ADAPTERS, "maxRank": 32, "maxActive": 2}))
    options = told(release)
    assert options["--lora-modules"] == "law=/weights/lora-law/7 sql=/weights/lora-sql/1f0c2ab"
    assert (options["--max-lora-rank"], options["--max-loras"]) == ("32", "2")
    assert "--enable-lora" in options


def test_adapters_are_named_to_sglang(render: Render) -> None:
    options = told(render(BASE, values("sglang", lora={"adapters": {"sql": ADAPTERS["sql"]}})))
    assert options["--lora-paths"] == "sql=/weights/lora-sql/1f0c2ab"
    assert (options["--max-lora-rank"], options["--max-loras-per-batch"]) == ("16", "4")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("delivery", ["initDownload", "stream", "volume", "image"])
def test_adapters_arrive_whatever_the_delivery(render: Render, engine: str, delivery: str) -> None:
    source = {"weights": {"delivery": delivery, "source": {"s3": {"uri": "s3://bucket/model"}}}}
    kind = {"weights": {"source": {"type": "s3"}}} if delivery == "stream" else {}
    release = render(BASE, BUCKET, source, kind, values(engine, lora={"adapters": ADAPTERS}))
    pod = container(release).pod
    downloads = {each["name"]: each for each in pod.containers(init=True) if "adapter" in each["name"]}
    assert set(downloads) == {"download-adapter-sql", "download-adapter-law"}
    option = told(release)["--lora-modules" if engine == "vllm" else "--lora-paths"]
    directories = dict(word.split("=") for word in (option or "").split())
    served = {each["mountPath"]: each for each in container(release).container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod.spec["volumes"]}
    for name, download in downloads.items():
        directory = download["args"][download["args"].index("--directory") + 1]
        assert directory == directories[name.removeprefix("download-adapter-")]
        (mount,) = [each for each in download["volumeMounts"] if directory.startswith(f"{each['mountPath']}/")]
        assert served[mount["mountPath"]]["name"] == mount["name"]
        assert served[mount["mountPath"]]["readOnly"] is True
        assert "emptyDir" in volumes[mount["name"]]
    environment = {each["name"]: each for each in downloads["download-adapter-law"]["env"]}
    assert environment["AWS_REGION"]["value"] == "eu-west-1"
    assert "HF_HOME" in {each["name"] for each in downloads["download-adapter-sql"]["env"]}


def test_disk_memory_and_plan_count_what_comes_beside_the_model(render: Render) -> None:
    plain = render(BASE)
    more = render(BASE, values("vllm", speculative={"method": "draftModel", "draft": DRAFT}))
    (before,), (after,) = plan_release(plain), plan_release(more)
    assert after.weights_gigabytes == pytest.approx(before.weights_gigabytes + 1.5)
    assert before.smallest_fit is not None
    assert after.smallest_fit is not None
    assert after.smallest_fit.kv_bytes == pytest.approx(before.smallest_fit.kv_bytes - 1.5e9)
    requests = [container(each).container["resources"]["requests"] for each in (plain, more)]
    disk = [int(each["ephemeral-storage"][:-2]) for each in requests]
    assert disk[1] > disk[0]


def test_an_engine_that_fetches_adapters_may_leave_the_cluster(render: Render) -> None:
    closed = {"security": {"networkPolicy": {"enabled": True, "clientNamespaces": ["apps"]}}}
    image = {"weights": {"delivery": "image"}}
    with_adapters = values("vllm", lora={"adapters": {"sql": ADAPTERS["sql"]}})
    policies = [
        next(iter(render(BASE, closed, image, layer).of_kind("NetworkPolicy"))).get("spec", "egress")
        for layer in ({}, with_adapters)
    ]
    assert policies[0] == []
    assert any(port["port"] == 443 for rule in policies[1] for port in rule["ports"])


@pytest.mark.parametrize(
    ("method", "draft", "configuration"),
    [
        ("ngram", {}, {"method": "ngram", "num_speculative_tokens": 4}),
        ("mtp", {}, {"method": "mtp", "num_speculative_tokens": 4}),
        ("eagle3", DRAFT, {"method": "eagle3", "num_speculative_tokens": 4, "model": "/weights/draft/9d2e"}),
        ("draftModel", DRAFT, {"method": "draft_model", "num_speculative_tokens": 4, "model": "/weights/draft/9d2e"}),
    ],
)
def test_vllm_is_told_how_to_guess(render: Render, method: str, draft: Values, configuration: Values) -> None:
    options = told(render(BASE, values("vllm", speculative={"method": method, "tokens": 4, "draft": draft})))
    assert json.loads(options["--speculative-config"] or "") == configuration


@pytest.mark.parametrize(
    ("method", "draft", "expected"),
    [
        ("ngram", {}, {"algorithm": "NGRAM", "num-draft-tokens": "4"}),
        ("mtp", {}, {"algorithm": "NEXTN", "num-steps": "4", "eagle-topk": "1", "num-draft-tokens": "5"}),
        (
            "draftModel",
            DRAFT,
            {
                "algorithm": "STANDALONE",
                "num-steps": "4",
                "eagle-topk": "1",
                "num-draft-tokens": "5",
                "draft-model-path": "/weights/draft/9d2e",
            },
        ),
    ],
)
def test_sglang_is_told_how_to_guess(render: Render, method: str, draft: Values, expected: dict[str, str]) -> None:
    options = told(render(BASE, values("sglang", speculative={"method": method, "tokens": 4, "draft": draft})))
    found = {
        name.removeprefix("--speculative-"): value
        for name, value in options.items()
        if name.startswith("--speculative")
    }
    assert found == expected


def test_offloaded_cache_is_host_memory_of_the_pod(render: Render) -> None:
    memory = {}
    for engine in ENGINES:
        for gibibytes in (0, 16):
            release = render(BASE, values(engine, kvOffloadGibibytes=gibibytes))
            limit = container(release).container["resources"]["limits"]["memory"]
            memory[engine, gibibytes] = int(limit[:-2]) // 1024
    assert memory["vllm", 16] - memory["vllm", 0] == 16
    assert memory["sglang", 16] - memory["sglang", 0] == 16 + 10, "what SGLang keeps free beside it"


def test_offloaded_cache_is_the_total_for_vllm_and_each_rank_s_for_sglang(render: Render) -> None:
    four = {"nodes": {"instanceTypes": ["g6e.12xlarge"]}}
    parallel = {"tensorParallelSize": 4, "resources": {"cpu": "32"}, "kvOffloadGibibytes": 64}
    assert told(render(four, values("vllm", parallel)))["--kv-offloading-size"] == "64"
    # 64 GiB are 68.7 gigabytes, over four ranks.
    assert told(render(four, values("sglang", parallel)))["--hicache-size"] == "17"


@pytest.mark.parametrize(
    ("engine", "task", "words"),
    [
        ("vllm", "embed", {"--runner": "pooling", "--convert": "embed"}),
        ("vllm", "classify", {"--runner": "pooling", "--convert": "classify"}),
        ("vllm", "rerank", {"--runner": "pooling"}),
        ("sglang", "embed", {"--is-embedding": None}),
        ("sglang", "rerank", {"--is-embedding": None}),
        ("sglang", "classify", {"--is-embedding": None}),
    ],
)
def test_models_that_write_no_text_are_told_so(
    render: Render, engine: str, task: str, words: dict[str, str | None]
) -> None:
    alerts = {"observability": {"alerts": {"enabled": True}}}
    release = render(BASE, alerts, values(engine, task=task))
    assert words.items() <= told(release).items()
    assert "--enable-prefix-caching" not in told(release)
    rules = release.of_kind("PrometheusRule")
    named = {rule.get("alert") for each in rules for group in each.get("spec", "groups") for rule in group["rules"]}
    assert "LlmRequestsWaiting" in named
    assert not named & {"LlmTimeToFirstTokenHigh", "LlmThroughputBelowBaseline"}


@pytest.mark.parametrize(("backend", "word"), [("xgrammar", "xgrammar"), ("guidance", "llguidance")])
def test_output_backends_are_called_by_the_engine_s_name(render: Render, backend: str, word: str) -> None:
    assert told(render(BASE, values("sglang", structuredOutputBackend=backend)))["--grammar-backend"] == word
    options = told(render(BASE, values("vllm", structuredOutputBackend=backend)))
    assert json.loads(options["--structured-outputs-config"] or "") == {"backend": backend}


@pytest.mark.parametrize(
    ("version", "plan", "expected"),
    [("0.33.0", None, "1"), ("0.33.0", True, "1"), ("0.33.0", False, None), ("0.25.0", None, None)],
)
def test_startup_plan_is_kept_with_the_compiled_kernels(
    render: Render, version: str, plan: bool | None, expected: str | None
) -> None:
    cache = {"enabled": True, "existingClaim": "caches", "startupPlan": plan}
    release = render(BASE, values("vllm", version=version, compileCache=cache))
    environment = {each["name"]: each.get("value") for each in container(release).container["env"]}
    assert environment.get("VLLM_ENABLE_STARTUP_PLAN") == expected
