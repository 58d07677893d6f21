"""`chartproof smoke --scenario`: what it refuses, which platform it takes, and how it ends early."""

from __future__ import annotations

import signal
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from chartproof import cli
from chartproof.cluster import processes, state
from chartproof.commands import smoke
from tests import presets

SERVERLESS = str(presets.path_of("llama-3.1-8b-g6e-serverless"))
TEN = str(presets.path_of("llama-3.1-8b-awq-g6"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([TEN, "--scenario", "brust"], "there is no scenario 'brust'"),
        ([TEN, "--speed", "30"], "--speed: is for scenarios on a live cluster"),
        ([TEN, "--out", "build"], "--out: is for scenarios on a live cluster"),
        ([TEN, "--scenario", "burst", "--speed", "0"], "time cannot run 0 times as fast"),
        ([TEN, "--scenario", "scale-from-zero"], "its minimum is 1 replicas"),
        ([TEN, "--scenario", "office-hours,spot-loss"], "no cron is among its triggers"),
    ],
)
def test_what_cannot_be_played_is_refused_before_anything_starts(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["smoke", *words, "--state-dir", str(tmp_path / "state")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def plan(*stems: str, **options: object) -> dict[str, list[str]]:
    given = {"presets": [presets.path_of(each) for each in stems], "platform": None, "no_platform": False, **options}
    found = smoke._plan(Namespace(**given))
    return {platform.stem if platform else "": [each.stem for each in models] for platform, models in found}


def test_each_preset_gets_the_platform_that_its_header_needs() -> None:
    assert plan("qwen2.5-7b-g5", "qwen2.5-7b-auto-mode", "llama-3.1-8b-awq-g6") == {
        "platform-eks": ["qwen2.5-7b-g5", "llama-3.1-8b-awq-g6"],
        "platform-eks-auto-mode": ["qwen2.5-7b-auto-mode"],
    }


def test_platforms_that_are_given_stay_platforms() -> None:
    assert plan("platform-generic", "platform-eks", "qwen2.5-7b-g5") == {
        "platform-generic": [],
        "platform-eks": ["qwen2.5-7b-g5"],
    }


def test_a_platform_can_be_chosen_or_left_out() -> None:
    chosen = presets.path_of("platform-generic")
    assert plan("qwen2.5-7b-g5", platform=chosen) == {"platform-generic": ["qwen2.5-7b-g5"]}
    assert plan("qwen2.5-7b-g5", no_platform=True) == {"": ["qwen2.5-7b-g5"]}


def test_a_preset_without_a_header_gets_the_platform_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {}\n", encoding="utf-8")
    mine = tmp_path / "mine.yaml"
    assert smoke._platform_of(mine) is None
    (tmp_path / "platform-eks.yaml").write_text("{}\n", encoding="utf-8")
    assert smoke._platform_of(mine) == tmp_path / "platform-eks.yaml"


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_under_load_takes_everything_down(number: signal.Signals, tmp_path: Path) -> None:
    words = ["smoke", SERVERLESS, "--scenario", "scale-from-zero", "--state-dir", str(tmp_path)]
    words += ["--chart", str(presets.CHART)]
    with subprocess.Popen(
        [sys.executable, "-m", "chartproof", *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as program:
        assert program.stderr is not None
        said = []
        for line in program.stderr:
            said.append(line)
            if "200 requests at once" in line:
                break
        else:
            pytest.fail("".join(said))
        program.send_signal(number)
        program.stderr.read()
    assert program.returncode == 128 + number
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == ["lock"]
    assert [each for place in state.places(tmp_path) for each in processes.of_cluster(place.directory)] == []
