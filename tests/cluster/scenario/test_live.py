"""Presets at work on the live cluster: one of each shape. `make test-all` plays every preset."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chartproof.cluster import Cluster
from chartproof.cluster.scenario import report
from chartproof.cluster.scenario.judge import first_growth, reactions, since_rest
from chartproof.cluster.scenario.progress import Progress
from chartproof.cluster.scenario.result import Result
from chartproof.cluster.scenario.stage import Played, Theatre, prepared
from chartproof.cluster.scenario.surroundings import Embedded
from chartproof.cluster.scenario.timeline import Timeline
from tests import presets

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def theatre(live_cluster: Cluster) -> Iterator[Theatre]:
    found = Theatre(Embedded(live_cluster), presets.CHART, progress=Progress(io.StringIO()))
    with found.platform(presets.path_of("platform-eks")) as platform:
        assert platform.problems == []
        yield found
    assert platform.problems == []


def play(theatre: Theatre, live_cluster: Cluster, stem: str, *names: str) -> dict[str, Timeline]:
    """Play scenarios with a preset; every one passes, and nothing is left of it."""
    assert live_cluster.live
    sizings = prepared(presets.path_of(stem), presets.CHART, live_cluster.live.pace)
    played: Played = theatre.play(presets.path_of(stem), sizings, names)
    assert played.problems == []
    assert played.skipped == {}
    assert {each.timeline.setting.scenario: each.problems for each in played.results} == dict.fromkeys(names, ())
    assert any("cooldownPeriod" in each for each in played.altered)
    return {each.timeline.setting.scenario: each.timeline for each in played.results}


def test_a_serverless_model_wakes_sleeps_and_outlives_a_spot_node(theatre: Theatre, live_cluster: Cluster) -> None:
    found = play(theatre, live_cluster, "llama-3.1-8b-g6e-serverless", "scale-from-zero", "spot-loss")
    first, *_, last = found["scale-from-zero"].decisions
    assert (first.controller, first.before, first.after, last.controller, last.after) == ("keda", 0, 1, "keda", 0)
    assert len(found["scale-from-zero"].requests) == 200
    assert max(each.held or 0 for each in found["scale-from-zero"].samples) > 100


def test_a_model_grows_to_ten_at_once_drains_and_is_replaced(
    theatre: Theatre, live_cluster: Cluster, tmp_path: Path
) -> None:
    found = play(theatre, live_cluster, "llama-3.1-8b-awq-g6", "burst", "drain", "rollout")
    burst = found["burst"]
    growth = first_growth(burst)
    assert growth is not None
    assert burst.setting.peak == 10
    assert (growth.metric or 0) > burst.setting.target
    reaction = next(each for each in reactions(burst) if each.decision == growth)
    assert reaction.to_ready is not None
    # Prometheus, KEDA and the HPA each have 15 s; the rest is for a busy machine.
    assert 0 < reaction.to_decide < 300
    assert burst.samples[-1].usd > 1
    result = Result(burst, ())
    written = report.write(result, tmp_path)
    described = json.loads((tmp_path / result.name / "timeline.json").read_text(encoding="utf-8"))
    assert described["mostReady"] == 10
    assert {each.suffix for each in written} == {".html", ".json", ".svg", ".png"}


def test_office_hours_come_and_go(theatre: Theatre, live_cluster: Cluster) -> None:
    found = play(theatre, live_cluster, "qwen2.5-7b-g5", "office-hours")["office-hours"]
    # On a working day its own hours may have woken it before.
    steps = [(each.before, each.after) for each in since_rest(found)]
    assert [each for each in steps if 0 in each] == [(0, 1), (1, 0)]


def test_both_roles_of_a_model_grow_and_drain_behind_the_real_router(theatre: Theatre, live_cluster: Cluster) -> None:
    assert live_cluster.live
    preset = presets.path_of("llama-3.3-70b-fp8-g7e-disaggregated")
    played = theatre.play(preset, prepared(preset, presets.CHART, live_cluster.live.pace), ["drain"])
    assert played.problems == []
    assert played.skipped == {}
    assert {each.timeline.setting.part: each.problems for each in played.results} == {"prefill": (), "decode": ()}
    assert {each.timeline.setting.part: each.timeline.setting.peak for each in played.results} == {
        "prefill": 4,
        "decode": 6,
    }
    # Both really worked: each was asked for as many replicas as its role has, by its own formula.
    for each in played.results:
        assert max(sample.ready or 0 for sample in each.timeline.samples) >= each.timeline.setting.peak
    # The real router passed the requests on.
    assert list(live_cluster.place.logs.glob("pod-*-router-*.log"))
