"""Bifrost instead of LiteLLM: its configuration against its schema, and what it asks in which order."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from chartproof import toolchain
from chartproof.release import Release
from tests import presets
from tests.chart.conftest import Render, merged

SCHEMA = yaml.safe_load((Path(__file__).parent / "bifrost.schema.yaml").read_text(encoding="utf-8"))
OWN = {"name": "own", "type": "own"}
PARIS = {
    "name": "paris",
    "type": "openai",
    "tier": 2,
    "url": "https://llm.example.com/v1",
    "existingSecret": "paris",
}
BEDROCK = {
    "name": "bedrock",
    "type": "bedrock",
    "tier": 3,
    "model": "eu.amazon.nova-lite-v1:0",
    "region": "eu-central-1",
}
BASE: dict[str, Any] = {
    "nodes": {"instanceTypes": ["g6e.2xlarge"]},
    "engine": {"servedModelName": ["qwen"]},
    "gateway": {
        "enabled": True,
        "type": "bifrost",
        "masterKey": {"existingSecret": "gateway-keys"},
        "aws": {"identity": "podIdentity"},
        "models": {"qwen": {"targets": [BEDROCK, OWN, PARIS]}},
    },
}


def _configuration(release: Release) -> dict[str, Any]:
    (found,) = [each.body["data"] for each in release.of_kind("ConfigMap") if "config.json" in each.body["data"]]
    configuration: dict[str, Any] = json.loads(found["config.json"])
    jsonschema.Draft201909Validator(SCHEMA).validate(configuration)
    return configuration


def _gateway(release: Release) -> dict[str, Any]:
    (found,) = [each for each in release.of_kind("Deployment") if each.name.endswith("-gateway")]
    pod: dict[str, Any] = found.get("spec", "template", "spec")
    return pod


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("provider",), {}),
        (("client", "enforce_auth_on_inference"), False),
        (("providers", "qwen.own", "network_config", "base_url"), "http://a/v1"),
        (("providers", "qwen.own", "network_config", "timeout"), 3),
        (("providers", "qwen.own", "keys"), []),
        (("governance", "routing_rules", 0, "targets"), []),
        (("governance", "routing_rules", 0, "fallbacks"), ["bedrock"]),
        (("governance", "virtual_keys", 0, "value"), "sk-bf-secret"),
    ],
)
def test_the_schema_rejects_what_is_wrong(render: Render, path: tuple[Any, ...], value: Any) -> None:
    spoilt = copy.deepcopy(_configuration(render(BASE)))
    place: Any = spoilt
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert not jsonschema.Draft201909Validator(SCHEMA).is_valid(spoilt)


def test_targets_are_asked_tier_by_tier(render: Render) -> None:
    configuration = _configuration(render(BASE))
    (rule,) = configuration["governance"]["routing_rules"]
    assert rule["cel_expression"] == 'model == "qwen"'
    assert rule["targets"] == [{"provider": "qwen.own", "model": "qwen", "weight": 1}]
    assert rule["fallbacks"] == ["qwen.paris/qwen", "qwen.bedrock/eu.amazon.nova-lite-v1:0"]
    assert {each["network_config"]["max_retries"] for each in configuration["providers"].values()} == {0}
    assert set(configuration["providers"]) == {"qwen.own", "qwen.paris", "qwen.bedrock"}


def test_targets_of_a_tier_share_the_requests_and_weight_0_takes_one_out(render: Render) -> None:
    def shares(*weights: int) -> dict[str, float]:
        targets = [
            {"name": name, "type": "openai", "url": f"http://{name}.llm.svc/v1", "weight": weight}
            for name, weight in zip(("blue", "green"), weights, strict=True)
        ]
        models = {"gateway": {"models": {"qwen": {"targets": targets}}}}
        (rule,) = _configuration(render(BASE, models))["governance"]["routing_rules"]
        return {each["provider"]: each["weight"] for each in rule["targets"]}

    assert shares(90, 10) == {"qwen.blue": 0.9, "qwen.green": 0.1}
    assert shares(0, 1) == {"qwen.green": 1}
    assert shares(0, 0) == {"qwen.blue": 0.5, "qwen.green": 0.5}


def test_credentials_are_references_and_only_the_master_key_opens(render: Render) -> None:
    release = render(BASE)
    configuration = _configuration(release)
    keys = {name: each["keys"][0]["value"] for name, each in configuration["providers"].items()}
    (container,) = _gateway(release)["containers"]
    variables = {each["name"]: each for each in container["env"]}
    assert keys["qwen.paris"].removeprefix("env.") in variables
    assert keys["qwen.bedrock"] == ""
    (virtual,) = configuration["governance"]["virtual_keys"]
    assert virtual["value"] == "env.GATEWAY_MASTER_KEY"
    assert variables["GATEWAY_MASTER_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "gateway-keys"
    assert {each["provider"] for each in virtual["provider_configs"]} == set(configuration["providers"])


def test_each_team_has_a_key_of_its_own(render: Render) -> None:
    release = render(BASE, {"gateway": {"teams": {"search": {"existingSecret": "search-key"}}}})
    governance = _configuration(release)["governance"]
    (master, search) = governance["virtual_keys"]
    assert governance["teams"] == [{"id": "search", "name": "search"}]
    assert search["team_id"] == "search"
    assert search["provider_configs"] == master["provider_configs"]
    (container,) = _gateway(release)["containers"]
    variables = {each["name"]: each for each in container["env"]}
    reference = variables[search["value"].removeprefix("env.")]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "search-key", "key": "api-key"}


def test_the_pod_has_its_configuration_where_the_image_looks_for_it(render: Render) -> None:
    pod = _gateway(render(BASE))
    (container,) = pod["containers"]
    assert container["image"] == "maximhq/bifrost:v1.6.0"
    assert "args" not in container
    variables = {each["name"]: each.get("value") for each in container["env"]}
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert mounts[f"{variables['APP_DIR']}/config.json"]["readOnly"] is True
    assert mounts[variables["APP_DIR"]]["name"] == "data"
    assert {each["name"] for each in pod["volumes"]} >= {"data", "configuration", "tmp"}
    assert pod["securityContext"]["runAsUser"] == 1000
    assert variables["APP_PORT"] == str(container["ports"][0]["containerPort"]) == "8080"


def test_its_requests_wake_a_model_from_zero(render: Render) -> None:
    asleep = {
        "autoscaling": {"enabled": True, "minReplicas": 0},
        "observability": {"monitoring": "podMonitor"},
    }
    (scaled,) = render(BASE, asleep).of_kind("ScaledObject")
    queries = {each["name"]: each["metadata"].get("query", "") for each in scaled.get("spec", "triggers")}
    assert 'bifrost_upstream_requests_total{namespace="llm",provider=~"qwen[.]own"}' in queries["wake"]
    assert "litellm" not in queries["wake"]


def test_its_alerts_are_of_its_own_metrics(render: Render, tmp_path: Path) -> None:
    release = render(BASE, {"observability": {"alerts": {"enabled": True}}})
    (rules,) = [each for each in release.of_kind("PrometheusRule") if each.name.endswith("-gateway")]
    groups = rules.get("spec", "groups")
    assert {rule["alert"] for group in groups for rule in group["rules"]} == {
        *("LlmGatewayDown", "LlmGatewayRequestsFailing", "LlmGatewayFallsOver")
    }
    assert "litellm" not in json.dumps(groups)
    pod = f'namespace="llm",pod="{rules.name}-7c9d8f6b5d-abcde",path="/v1/chat/completions"'
    provider = 'namespace="llm",provider="qwen'
    series = {
        f'kube_deployment_status_replicas_ready{{namespace="llm",deployment="{rules.name}"}}': "2x100",
        f'http_requests_total{{{pod},status="200"}}': "0+60x100",
        f'http_requests_total{{{pod},status="503"}}': "0+6x100",
        f'bifrost_success_requests_total{{{provider}.own",fallback_index="0"}}': "0+10x100",
        f'bifrost_success_requests_total{{{provider}.bedrock",fallback_index="1"}}': "0+50x100",
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "90m",
                "exp_samples": [
                    {"labels": f'{{alertname="{each}"}}', "value": 1}
                    for each in ("LlmGatewayFallsOver", "LlmGatewayRequestsFailing")
                ],
            }
        ],
    }
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": groups}))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(json.dumps(document))
    command = [str(toolchain.resolve("promtool")), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_gateway_preset_has_it_as_an_alternative() -> None:
    targets = [OWN, {**BEDROCK, "tier": 2}]
    overlay = merged({"gateway": {"type": "bifrost", "models": {"llama-3.1-8b": {"targets": targets}}}})
    configuration = _configuration(presets.render("llama-3.1-8b-g6e-gateway", yaml.safe_dump(overlay)))
    (rule,) = configuration["governance"]["routing_rules"]
    assert [each["provider"] for each in rule["targets"]] == ["llama-3.1-8b.own"]
