"""The simulator's controllers against recordings of the embedded cluster; `recordings.py` tells how they are made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chartproof.simulate.hpa import SYNC_SECONDS
from tests.simulate import recordings

RECORDED = sorted(recordings.GOLDENS.glob("*.json"))


def recorded(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return found


def test_there_are_recordings() -> None:
    assert RECORDED


@pytest.mark.parametrize("place", RECORDED, ids=lambda each: each.stem)
def test_replicas_go_the_same_way_within_one_period_of_the_hpa(place: Path) -> None:
    recording = recorded(place)
    theirs, ours = recording["steps"], recordings.replay(recording)
    assert [step[1:] for step in map(tuple, theirs)] == [step[1:] for step in ours]
    late = [abs(mine[0] - step[0]) for mine, step in zip(ours, theirs, strict=True)]
    assert max(late) <= SYNC_SECONDS


@pytest.mark.parametrize("place", RECORDED, ids=lambda each: each.stem)
def test_a_replay_with_other_windows_goes_another_way(place: Path) -> None:
    """The comparison can fail."""
    recording = recorded(place)
    behavior = recording["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    behavior["scaleDown"]["stabilizationWindowSeconds"] += 60
    steps = [tuple(step[1:]) for step in recording["steps"]]
    ours = recordings.replay(recording)
    assert [step[1:] for step in ours] != steps or any(
        abs(mine[0] - step[0]) > SYNC_SECONDS for mine, step in zip(ours, recording["steps"], strict=True)
    )
