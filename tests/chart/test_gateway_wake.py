"""Requests at the gateway wake a model from zero, the first one alone too; judged by Prometheus' own engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chart.conftest import Render
from tests.chart.test_autoscaling import scaled_object, triggers
from tests.chart.test_autoscaling_queries import Series, evaluate

POD = 'namespace="llm",pod="llm-llm-inference-gateway-7c9d8f6b5d-abcde"'
ASLEEP: dict[str, Any] = {
    "nodes": {"instanceTypes": ["g6e.2xlarge"]},
    "engine": {"servedModelName": ["qwen-2.5"]},
    "observability": {"monitoring": "serviceMonitor"},
    "autoscaling": {"enabled": True, "minReplicas": 0},
    "gateway": {"enabled": True, "masterKey": {"existingSecret": "gateway-keys"}},
}


def asked(model: str = "qwen-2.5", where: str = POD) -> str:
    """Requests to a target of the model, as LiteLLM counts them."""
    return f'litellm_deployment_total_requests_total{{{where},requested_model="{model}",model_id="own"}}'


def fell_over(model: str = "qwen-2.5") -> str:
    """Requests that another target answered."""
    return (
        f'litellm_deployment_successful_fallbacks_total{{{POD},requested_model="{model}",'
        f'fallback_model="{model}-tier-2",exception_status="500"}}'
    )


@pytest.fixture
def query(render: Render) -> str:
    text = triggers(scaled_object(render, ASLEEP))["wake"]["metadata"]["query"]
    assert isinstance(text, str)
    return text


# Samples every 15 s, judged after five minutes, which is sample 20.
CASES: dict[str, tuple[Series, bool]] = {
    "nobody ever asked": ({}, False),
    "the first request alone, one scrape ago": ({asked(): "_x20 1"}, True),
    "the first request alone, three scrapes ago": ({asked(): "_x18 1x5"}, True),
    "the first request, which fell over": ({fell_over(): "_x20 1"}, True),
    "a later request, to a target left alone": ({asked(): "7x40", fell_over(): "7x18 8x20"}, True),
    "a request long ago": ({asked(): "_x5 1x40"}, False),
    "many requests long ago": ({asked(): "0+3x10 30x30", fell_over(): "0+3x10 30x30"}, False),
    "a steady stream": ({asked(): "0+15x40"}, True),
    "the first request after the gateway started again": ({asked(): "7x18 stale 1"}, True),
    "another model was asked": ({asked("qwen-2x5"): "0+15x40", fell_over("qwen-2x5"): "0+15x40"}, False),
    "the model of another namespace was asked": ({asked(where='namespace="other",pod="x"'): "0+15x40"}, False),
    "another tier was asked by name": ({asked("qwen-2.5-tier-2"): "0+15x40"}, False),
}


@pytest.mark.parametrize("case", CASES)
def test_wake(tmp_path: Path, query: str, case: str) -> None:
    series, expected = CASES[case]
    evaluate(tmp_path, [(f"({query}) > bool 0", series, float(expected))])


def test_increase_alone_would_miss_the_first_request(tmp_path: Path) -> None:
    plain = f"sum(increase({asked()}[1m])) > 0"
    evaluate(tmp_path, [(plain, {asked(): "_x18 1x5"}, None)])


def test_a_written_query_comes_before_the_gateways(render: Render) -> None:
    written = {"autoscaling": {"wake": {"query": "up"}}}
    query = triggers(scaled_object(render, ASLEEP, written))["wake"]["metadata"]["query"]
    assert "litellm" not in query


def test_a_model_that_never_sleeps_has_no_wake(render: Render) -> None:
    document = scaled_object(render, ASLEEP, {"autoscaling": {"minReplicas": 1}})
    assert "wake" not in triggers(document)
    assert "wake" not in document.get("spec", "advanced", "scalingModifiers", "formula")


def test_only_names_with_this_engine_wake_it(render: Render) -> None:
    models = {
        "gateway": {
            "models": {
                "chat": {"targets": [{"name": "own", "type": "own"}]},
                "code": {"targets": [{"name": "far", "type": "openai", "url": "http://code.other.svc/v1"}]},
            }
        }
    }
    query = triggers(scaled_object(render, ASLEEP, models))["wake"]["metadata"]["query"]
    assert 'requested_model=~"chat"' in query
    assert "code" not in query
