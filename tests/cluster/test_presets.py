"""Every preset through its whole life on the embedded cluster, the platform beneath."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from chartproof.cluster import Cluster
from chartproof.cluster.smoke import Outcome, Smoke
from tests import presets

# One group: the platform is installed once, and two releases never compete for its nodes.
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("presets")]

PLATFORMS = tuple(each for each in presets.STEMS if each.startswith("platform-"))
MODELS = tuple(each for each in presets.STEMS if each not in PLATFORMS)


@pytest.fixture(scope="module")
def smoke(embedded_cluster: Cluster) -> Smoke:
    return Smoke(embedded_cluster, presets.CHART, tell=lambda _message: None, timeout_seconds=60)


def platform_of(stem: str) -> str:
    """The platform preset that a model preset's header asks for."""
    found = re.search(r"^# Needs: (platform-[\w-]+);", presets.path_of(stem).read_text(), re.MULTILINE)
    assert found, stem
    return found[1]


# Before the fixture below: a release of the same name cannot be installed twice.
@pytest.mark.parametrize("stem", PLATFORMS)
def test_a_platform_installs_and_leaves_nothing(smoke: Smoke, stem: str) -> None:
    with smoke.platform(presets.path_of(stem)) as outcome:
        assert outcome.problems == []
    assert outcome.problems == []


@pytest.fixture(scope="module")
def platform(smoke: Smoke, request: pytest.FixtureRequest) -> Iterator[Outcome]:
    with smoke.platform(presets.path_of(request.param)) as installed:
        yield installed


# Module scope groups the models by platform: each is installed once.
@pytest.mark.parametrize(
    ("platform", "stem"), sorted((platform_of(stem), stem) for stem in MODELS), indirect=["platform"], scope="module"
)
def test_a_model_installs_runs_upgrades_and_leaves_nothing(smoke: Smoke, platform: Outcome, stem: str) -> None:
    model = smoke.model(presets.path_of(stem), platform)
    assert model.problems == []
    assert any(each.gpus for each in model.places)
    # What the harness supplied in somebody's place goes with the release that needed it.
    standing = [each for each in smoke.nodes() if each.startswith("standing-")]
    assert standing == []
