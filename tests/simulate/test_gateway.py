"""A gateway in the release answers from its paid target what finds no replica."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from chartproof import cli
from chartproof.release import Document, Release
from chartproof.simulate.gateway import overflow_of
from chartproof.simulate.run import Subject, subject_of
from chartproof.simulate.world import Overflow
from tests import presets
from tests.simulate.conftest import SERVERLESS

GATEWAY = "llama-3.1-8b-g6e-gateway"


@pytest.fixture(scope="module")
def behind_a_gateway() -> Subject:
    return subject_of(presets.render(GATEWAY))


def test_the_paid_target_of_the_gateway_is_the_overflow(behind_a_gateway: Subject) -> None:
    found = overflow_of(behind_a_gateway.release, behind_a_gateway.plan.container)
    assert found is not None
    assert found.usd(1_000_000, 0) == pytest.approx(0.22)
    assert found.usd(0, 1_000_000) == pytest.approx(0.22)
    assert found.requests_per_replica is None


def test_without_a_gateway_there_is_none(serverless: Subject) -> None:
    assert overflow_of(serverless.release, serverless.plan.container) is None


def with_configuration(subject: Subject, change: dict[str, object]) -> Overflow | None:
    """The overflow where the fallback's parameters are changed."""
    documents = []
    for each in subject.release.documents:
        text = (each.get("data", default={}) or {}).get("config.yaml", "") if each.kind == "ConfigMap" else ""
        if "model_list:" not in text:
            documents.append(each)
            continue
        body = yaml.safe_load(text)
        body["model_list"][1]["litellm_params"].update(change)
        documents.append(Document({**each.body, "data": {"config.yaml": yaml.safe_dump(body)}}))
    release: Release = dataclasses.replace(subject.release, documents=tuple(documents))
    return overflow_of(release, subject.plan.container)


def test_prompts_and_answers_have_prices_of_their_own(behind_a_gateway: Subject) -> None:
    found = with_configuration(behind_a_gateway, {"input_cost_per_token": 1e-6, "output_cost_per_token": 5e-6})
    assert found is not None
    assert found.usd(2_000_000, 1_000_000) == pytest.approx(7)


def test_a_target_that_costs_nothing_is_no_paid_api(behind_a_gateway: Subject) -> None:
    assert with_configuration(behind_a_gateway, {"input_cost_per_token": 0, "output_cost_per_token": 0}) is None


def test_the_command_lets_the_gateway_answer_and_an_option_says_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    def overflow(preset: str, *more: str) -> tuple[dict[str, float] | None, int, dict[str, int]]:
        words = ["simulate", str(presets.path_of(preset)), "--trace", "synthetic:burst,hours=2,rate=0.02"]
        assert cli.main([*words, "--initial-replicas", "0", "--format", "json", *more]) == 0
        found = json.loads(capsys.readouterr().out)
        return found["overflow"], found["runs"][0]["overflowed"], found["runs"][0]["lost"]

    described, count, lost = overflow(GATEWAY)
    assert described is not None
    assert described["usdPerMillionTokens"] == pytest.approx(0.22)
    assert count > 0
    assert not lost
    assert overflow(SERVERLESS)[0] is None
    described, _, _ = overflow(GATEWAY, "--overflow-usd", "3")
    assert described is not None
    assert described["usdPerMillionTokens"] == 3
