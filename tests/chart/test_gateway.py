"""The gateway: tiers, what makes it fall over, and how it is kept available."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof.release import dig
from tests.chart.conftest import Refusals, Render
from tests.presets import CHART

DATA: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "gateway-refusals.yaml").read_text(encoding="utf-8"))
CASES: list[dict[str, Any]] = DATA["cases"]

BASE = {
    "nodes": {"instanceTypes": ["g6e.2xlarge"]},
    "engine": {"servedModelName": ["qwen"]},
    "gateway": {
        "enabled": True,
        "masterKey": {"existingSecret": "gateway-keys"},
        "aws": {"identity": "podIdentity"},
        "models": {
            "qwen": {
                "targets": [
                    {
                        "name": "bedrock",
                        "type": "bedrock",
                        "tier": 3,
                        "model": "eu.amazon.nova-lite-v1:0",
                        "region": "eu-central-1",
                        "inputDollarsPerMillionTokens": 0.5,
                    },
                    {"name": "own", "type": "own"},
                    {
                        "name": "paris",
                        "type": "openai",
                        "tier": 2,
                        "url": "https://llm.example.com/v1",
                        "existingSecret": "paris",
                    },
                ]
            }
        },
    },
}


def named(case: dict[str, Any]) -> str:
    return f"{case['id']} {case['key']} ({case['says']})"


@pytest.mark.parametrize("case", CASES, ids=named)
def test_contradiction_is_refused_with_its_id_and_key(refusals: Refusals, case: dict[str, Any]) -> None:
    wanted = f"[{case['id']}] {case['key']}: "
    lines = refusals(DATA["base"], case["values"])
    assert any(line.startswith(wanted) and case["says"] in line for line in lines), lines


@pytest.mark.parametrize("case", [each for each in CASES if "fine" in each], ids=named)
def test_the_same_done_right_is_not_refused(refusals: Refusals, case: dict[str, Any]) -> None:
    wanted = f"[{case['id']}] {case['key']}: "
    lines = refusals(DATA["base"], case["fine"])
    assert not [line for line in lines if line.startswith(wanted) and case["says"] in line]


def test_every_refusal_in_the_templates_has_a_case() -> None:
    text = (CHART / "templates/gateway/_violations.tpl").read_text(encoding="utf-8")
    told = re.findall(r'"\[(LLM\d{3})\] ([^:"]+): ([^"]+)"', text)
    assert len(told) > 10
    for rule, _, words in told:
        literal = re.split(r"%[sdv]", words)
        assert any(rule == each["id"] and any(each["says"] in part for part in literal) for each in CASES), words


def configuration(render: Render, *layers: dict[str, Any]) -> dict[str, Any]:
    """The gateway's rendered configuration."""
    release = render(BASE, *layers)
    (found,) = [each for each in release.documents if each.kind == "ConfigMap" and each.name.endswith("-gateway")]
    loaded = yaml.safe_load(found.body["data"]["config.yaml"])
    assert isinstance(loaded, dict)
    return loaded


def test_tiers_are_asked_in_their_order(render: Render) -> None:
    config = configuration(render)
    groups = [(each["model_name"], each["litellm_params"]["model"]) for each in config["model_list"]]
    assert groups == [
        ("qwen", "openai/qwen"),
        ("qwen-tier-2", "openai/qwen"),
        ("qwen-tier-3", "bedrock/eu.amazon.nova-lite-v1:0"),
    ]
    assert config["router_settings"]["fallbacks"] == [{"qwen": ["qwen-tier-2", "qwen-tier-3"]}]
    assert config["router_settings"]["max_fallbacks"] >= 2


def test_nothing_is_asked_twice_for_one_request(render: Render) -> None:
    config = configuration(render)
    assert config["router_settings"]["num_retries"] == 0
    assert config["litellm_settings"]["num_retries"] == 0
    assert {each["litellm_params"]["max_retries"] for each in config["model_list"]} == {0}


def test_prices_are_per_token(render: Render) -> None:
    config = configuration(render)
    assert config["model_list"][2]["litellm_params"]["input_cost_per_token"] == pytest.approx(0.5e-6)


def test_the_last_tier_is_never_left_alone(render: Render) -> None:
    config = configuration(render)
    counted = ["allowed_fails_policy" in each["model_info"] for each in config["model_list"]]
    assert counted == [True, True, False]


def test_keys_come_from_secrets_only(render: Render) -> None:
    config = configuration(render)
    variable = config["model_list"][1]["litellm_params"]["api_key"].removeprefix("os.environ/")
    release = render(BASE)
    (deployment,) = [each for each in release.documents if each.kind == "Deployment" and each.name.endswith("-gateway")]
    (container,) = dig(deployment.body, "spec", "template", "spec", "containers")
    environment = {each["name"]: each for each in container["env"]}
    assert dig(environment[variable], "valueFrom", "secretKeyRef", "name") == "paris"
    assert dig(environment["LITELLM_MASTER_KEY"], "valueFrom", "secretKeyRef", "name") == "gateway-keys"


def test_a_stopping_pod_outlasts_the_longest_stream(render: Render) -> None:
    release = render(BASE, {"gateway": {"longestStreamSeconds": 900}})
    (deployment,) = [each for each in release.documents if each.kind == "Deployment" and each.name.endswith("-gateway")]
    assert dig(deployment.body, "spec", "template", "spec", "terminationGracePeriodSeconds") > 900


def test_network_policies_let_the_gateway_to_its_engine(render: Render) -> None:
    release = render(BASE, {"security": {"networkPolicy": {"enabled": True, "clientNamespaces": ["web"]}}})
    policies = {each.name: each.body for each in release.documents if each.kind == "NetworkPolicy"}
    (own,) = [body for name, body in policies.items() if name.endswith("-gateway")]
    (engine,) = [body for name, body in policies.items() if not name.endswith(("-gateway", "-weights"))]
    gateway = dig(own, "spec", "podSelector", "matchLabels")
    served = dig(engine, "spec", "podSelector", "matchLabels")
    assert {"podSelector": {"matchLabels": gateway}} in dig(engine, "spec", "ingress")[0]["from"]
    assert any({"podSelector": {"matchLabels": served}} in rule["to"] for rule in dig(own, "spec", "egress"))


def test_a_class_is_the_same_engine_with_a_priority_and_the_same_fallbacks(render: Render) -> None:
    layer = {"engine": {"schedulingPolicy": "priority"}, "gateway": {"classes": {"batch": {"priority": 10}}}}
    config = configuration(render, layer)
    (batch,) = [each for each in config["model_list"] if each["model_name"] == "qwen-batch"]
    assert batch["litellm_params"]["model"] == "openai/qwen"
    assert batch["litellm_params"]["extra_body"] == {"priority": 10}
    assert {"qwen-batch": ["qwen-tier-2", "qwen-tier-3"]} in config["router_settings"]["fallbacks"]
    identities = [each["model_info"]["id"] for each in config["model_list"]]
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize(
    ("engine", "words"), [("vllm", ["--scheduling-policy", "priority"]), ("sglang", ["--enable-priority-scheduling"])]
)
def test_the_engine_schedules_by_priority(render: Render, engine: str, words: list[str]) -> None:
    base = {"nodes": {"instanceTypes": ["g6e.2xlarge"]}, "engine": {"type": engine, "schedulingPolicy": "priority"}}
    (deployment,) = [each for each in render(base).documents if each.kind == "Deployment"]
    arguments = dig(deployment.body, "spec", "template", "spec", "containers")[0]["args"]
    assert any(arguments[at : at + len(words)] == words for at in range(len(arguments)))


def test_a_load_balancer_waits_for_the_longest_stream(render: Render) -> None:
    exposure = {"type": "ingress", "host": "llm.example.com"}
    release = render(BASE, {"gateway": {"longestStreamSeconds": 900, "exposure": exposure}})
    (ingress,) = [each for each in release.documents if each.kind == "Ingress"]
    annotations = dig(ingress.body, "metadata", "annotations")
    assert annotations["alb.ingress.kubernetes.io/scheme"] == "internal"
    attributes = annotations["alb.ingress.kubernetes.io/load-balancer-attributes"]
    assert int(attributes.removeprefix("idle_timeout.timeout_seconds=")) > 900
    delay = annotations["alb.ingress.kubernetes.io/target-group-attributes"]
    assert int(delay.removeprefix("deregistration_delay.timeout_seconds=")) >= 900
    paths = dig(ingress.body, "spec", "rules")[0]["http"]["paths"]
    assert [each["path"] for each in paths] == ["/v1"], "metrics and administration are not for the outside"


def test_a_route_waits_for_the_longest_stream(render: Render) -> None:
    exposure = {"type": "httpRoute", "host": "llm.example.com", "httpRoute": {"gateway": "inside"}}
    release = render(BASE, {"gateway": {"longestStreamSeconds": 900, "exposure": exposure}})
    (route,) = [each for each in release.documents if each.kind == "HTTPRoute"]
    assert int(dig(route.body, "spec", "rules")[0]["timeouts"]["request"].removesuffix("s")) > 900


def test_database_and_tracing_are_options_with_secrets(render: Render) -> None:
    plain = configuration(render)
    assert plain["litellm_settings"]["callbacks"] == ["prometheus"]
    assert "database_url" not in plain["general_settings"]
    layer = {"gateway": {"database": {"existingSecret": "pg"}, "langfuse": {"existingSecret": "traces"}}}
    config = configuration(render, layer)
    assert config["litellm_settings"]["callbacks"] == ["prometheus", "langfuse"]
    assert config["general_settings"]["database_url"] == "os.environ/DATABASE_URL"
