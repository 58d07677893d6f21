"""Our KEDA against recordings of the real operator; `keda_recordings.py` tells how they are made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chartproof.toolchain import pins
from tests.simulate import keda_recordings
from tests.simulate.keda_recordings import CASES, GOLDENS, LATE_SECONDS, WRITE_SECONDS, cases, replay

NAMES = sorted(cases())


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDENS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_every_case_is_recorded_and_nothing_else() -> None:
    assert {each.stem for each in GOLDENS.glob("*.json")} == set(NAMES), f"record them: {CASES}"


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_is_of_the_case_as_it_is(name: str) -> None:
    recording, case = recorded(name), cases()[name]
    triggers = [each for each in recording["spec"]["triggers"] if each["type"] != "cron"]
    assert {**recording["spec"], "triggers": triggers} == case["spec"]
    assert recording["programs"] == {each: pins.modules()[each].version for each in ("kubernetes", "keda")}


@pytest.mark.parametrize("name", NAMES)
def test_the_same_is_done_at_the_same_look(name: str) -> None:
    recording = recorded(name)
    ours = replay(recording).steps
    assert [step[1:] for step in ours] == [tuple(step[1:]) for step in recording["steps"]]
    for mine, theirs in zip(ours, recording["steps"], strict=True):
        # Passes of the HPA that ask for nothing are known by their period only.
        assert -LATE_SECONDS <= theirs[0] - mine[0] <= WRITE_SECONDS


@pytest.mark.parametrize("name", NAMES)
def test_it_is_called_active_at_the_same_look(name: str) -> None:
    """KEDA patches the status from several places: an older word may be put back for a moment."""
    recording = recorded(name)
    for second, active in replay(recording).active:
        assert any(said == active and 0 <= later - second <= WRITE_SECONDS for later, said in recording["active"]), (
            second,
            active,
        )


def test_looks_are_told_apart_by_the_period_of_polls() -> None:
    asked = [(1.0, "a", 1), (1.05, "b", 2), (5.0, "a", "fail"), (5.02, "b", 2), (5.05, "a", "fail"), (6.7, "a", 3)]
    assert keda_recordings.looks(asked, 4) == [
        (1.0, "poll", {"a": 1, "b": 2}),
        (5.0, "poll", {"a": "fail", "b": 2}),
        (6.7, "pull", {"a": 3}),
    ]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("woken-then-cooled-down", {"cooldownPeriod": 25}),
        ("never-active-waits-for-the-initial-cooldown", {"initialCooldownPeriod": 5}),
        ("a-fallback-wakes-zero", {"fallback": {"failureThreshold": 9, "replicas": 4}}),
    ],
)
def test_a_replay_with_other_settings_goes_another_way(name: str, change: dict[str, Any]) -> None:
    """The comparison can fail."""
    recording = recorded(name)
    other = replay({**recording, "spec": {**recording["spec"], **change}}).steps
    assert other != replay(recording).steps
