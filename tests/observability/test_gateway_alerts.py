"""The gateway's alerts, against Prometheus' own rule engine."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chartproof import toolchain
from tests import presets

NAMES = {
    "ready": 'kube_deployment_status_replicas_ready{namespace="llm",deployment="@"}',
    "asked": 'litellm_proxy_total_requests_metric_total{namespace="llm",requested_model="llama-3.1-8b"}',
    "failed": 'litellm_proxy_failed_requests_metric_total{namespace="llm",exception_status="503"}',
    "refused": 'litellm_proxy_failed_requests_metric_total{namespace="llm",exception_status="401"}',
    "tried": 'litellm_deployment_total_requests_total{namespace="llm",requested_model="llama-3.1-8b"}',
    "fell": 'litellm_deployment_successful_fallbacks_total{namespace="llm",requested_model="llama-3.1-8b"}',
}
HEALTHY = {"ready": "2x200", "asked": "0+60x200", "refused": "0+60x200", "tried": "0+60x200", "fell": "0+6x200"}
FAULTS: dict[str, dict[str, str]] = {
    "LlmGatewayDown": {"ready": "0x200"},
    "LlmGatewayRequestsFailing": {"failed": "0+6x200"},
    "LlmGatewayFallsOver": {"fell": "0+50x200"},
}


@pytest.fixture(scope="module")
def rules() -> tuple[str, list[dict[str, Any]]]:
    release = presets.render("llama-3.1-8b-g6e-gateway")
    (document,) = [each for each in release.of_kind("PrometheusRule") if each.name.endswith("-gateway")]
    return document.name, [dict(each) for each in document.get("spec", "groups")]


def firing(
    tmp_path: Path, rules: tuple[str, list[dict[str, Any]]], series: dict[str, str], expected: list[str]
) -> None:
    """Exactly these alerts fire after an hour and a half."""
    name, groups = rules
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": groups}))
    test = {
        "interval": "1m",
        "input_series": [{"series": NAMES[key].replace("@", name), "values": each} for key, each in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "90m",
                "exp_samples": [{"labels": f'{{alertname="{each}"}}', "value": 1} for each in expected],
            }
        ],
    }
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(json.dumps(document))
    command = [str(toolchain.resolve("promtool")), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_fires_while_all_is_well(tmp_path: Path, rules: tuple[str, list[dict[str, Any]]]) -> None:
    firing(tmp_path, rules, HEALTHY, [])


def test_every_alert_has_a_fault_and_a_runbook(rules: tuple[str, list[dict[str, Any]]]) -> None:
    alerts = [each for group in rules[1] for each in group["rules"]]
    assert {each["alert"] for each in alerts} == set(FAULTS)
    for each in alerts:
        page = each["annotations"]["runbook_url"].rpartition("/")[2]
        assert (presets.ROOT / "docs" / "runbooks" / page).is_file(), page


@pytest.mark.parametrize("alert", FAULTS)
def test_alert_fires_for_its_fault_alone(tmp_path: Path, rules: tuple[str, list[dict[str, Any]]], alert: str) -> None:
    firing(tmp_path, rules, {**HEALTHY, **FAULTS[alert]}, [alert])
