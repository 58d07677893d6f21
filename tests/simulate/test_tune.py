from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from chartproof import cli
from chartproof.simulate import tune as search
from chartproof.simulate.baselines import Case
from chartproof.simulate.measure import Objective
from chartproof.simulate.run import Options, Subject, demand
from chartproof.simulate.settings import Tunable, tunable
from chartproof.simulate.traffic import Rate, Trace, synthetic
from chartproof.simulate.tune import Trial, Tuned, best, excerpt, front, grid, neighbours, tune
from tests import presets
from tests.simulate.conftest import SERVERLESS
from tests.simulate.test_settings import FOREIGN

pytestmark = pytest.mark.slow

PRESET = str(presets.path_of(SERVERLESS))
#: The preset before it was tuned.
UNTUNED = (
    "autoscaling: {waitingWeight: 10, targetPerReplica: 77, averageSeconds: 0, signals: {tokens: {enabled: false}}}"
)
TRACE = "constant,hours=0.5,rate=6"


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """A search of a few runs: what is tested is that it searches, not how long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "TARGET_FACTORS", (0.25, 1.0))
        patch.setattr(search, "WEIGHTS", (1.0,))
        patch.setattr(search, "WINDOWS", (300.0,))
        patch.setattr(search, "NEIGHBOUR_RUNS", 6)
        yield


def case_of(subject: Subject, trace: Trace, **options: object) -> Case:
    return Case(subject, trace, Options(**options), demand(subject, trace))  # type: ignore[arg-type]


def made(text: str) -> Trace:
    return synthetic(text, prompt_tokens=500, answer_tokens=200)


@pytest.fixture(scope="module")
def found(serverless: Subject) -> Tunable:
    return tunable(serverless)


@pytest.fixture(scope="module")
def tuned(serverless: Subject, found: Tunable) -> Tuned:
    return tune(case_of(serverless, made(TRACE)), found, lambda _: None)


def test_the_choice_keeps_the_objective_and_nothing_that_ran_does_it_for_less(tuned: Tuned) -> None:
    assert tuned.met
    assert tuned.choice.result.attainment >= 95
    assert all(each.result.gpu_hours >= tuned.choice.result.gpu_hours for each in tuned.front if each.met)


def test_nothing_on_the_front_is_beaten(tuned: Tuned) -> None:
    points = [(each.result.gpu_hours, each.result.attainment) for each in tuned.front]
    assert points == sorted(points)
    assert [attained for _, attained in points] == sorted({attained for _, attained in points})


def test_the_same_seed_finds_the_same(serverless: Subject, found: Tunable, tuned: Tuned) -> None:
    again = tune(case_of(serverless, made(TRACE)), found, lambda _: None)
    assert again == tuned


def test_an_objective_that_none_keep_is_said(serverless: Subject, found: Tunable) -> None:
    impossible = (Objective("ttft", 99, 0.001),)
    result = tune(case_of(serverless, made("constant,hours=0.2,rate=2"), objectives=impossible), found, lambda _: None)
    assert not result.met
    assert result.choice.result.attainment < 99


def test_every_objective_counts(serverless: Subject, found: Tunable) -> None:
    slow = (Objective("ttft", 95, 2.0), Objective("e2e", 95, 0.01))
    result = tune(case_of(serverless, made("constant,hours=0.2,rate=2"), objectives=slow), found, lambda _: None)
    assert not result.met


def test_the_grid_begins_with_a_window_that_outlasts_the_cold_start(found: Tunable) -> None:
    settings = list(grid(found))
    # The preset weighs waiting requests as 1 already: one weight, two targets.
    assert len(settings) == len(set(settings)) == 1 * 2
    assert all(each.window >= found.cold_start_seconds for each in settings)


def test_neighbours_differ_in_one_number_and_stay_within_the_pools(found: Tunable, tuned: Tuned) -> None:
    for each in neighbours(tuned.choice, found, most_needed=1):
        assert len(list(each.differences(tuned.choice.settings))) == 1
        assert 0 <= each.minimum <= each.maximum <= found.current.maximum
        assert each.window >= found.cold_start_seconds
        assert each.cooldown is None or each.cooldown >= found.cold_start_seconds


def test_a_model_that_never_sleeps_is_not_put_to_sleep(tuned: Tuned, found: Tunable) -> None:
    awake = replace(found, current=replace(found.current, minimum=1, cooldown=None))
    trial = replace(tuned.choice, settings=replace(awake.current, minimum=1))
    assert all(each.minimum >= 1 for each in neighbours(trial, awake, most_needed=1))


def test_no_maximum_below_what_the_busiest_minute_needs(found: Tunable, tuned: Tuned) -> None:
    trial = replace(tuned.choice, settings=found.current, result=replace(tuned.choice.result, most_replicas=8))
    assert {each.maximum for each in neighbours(trial, found, most_needed=8)} == {8}
    assert 7 in {each.maximum for each in neighbours(trial, found, most_needed=7)}


def trial_of(tuned: Tuned, gpu_hours: float, attained: float) -> Trial:
    result = tuned.choice.result
    objectives = tuple(replace(each, percent=attained) for each in result.attained)
    return replace(tuned.choice, result=replace(result, gpu_hours=gpu_hours, attained=objectives))


def test_the_front_and_the_best_of_known_points(tuned: Tuned) -> None:
    points = [(1, 50), (2, 96), (3, 90), (3, 99), (4, 99), (5, 100)]
    trials = [trial_of(tuned, *each) for each in points]

    def shown(found: list[Trial]) -> list[tuple[float, float]]:
        return [(each.result.gpu_hours, each.result.attainment) for each in found]

    assert shown(front(trials)) == [(1, 50), (2, 96), (3, 99), (5, 100)]
    assert shown(best(trials, 2)) == [(2, 96), (5, 100)]
    assert sorted(shown(best(trials, 6))) == sorted(points)


def test_an_excerpt_is_where_the_need_differs_most(serverless: Subject) -> None:
    def rates() -> list[Rate]:
        calm = [Rate(600.0 * i, 600, 2, 500, 100) for i in range(144)]
        return [each._replace(per_second=30.0) if 60 <= i < 66 else each for i, each in enumerate(calm)]

    case = case_of(serverless, Trace("made", open_rates=lambda: iter(rates())))
    part = excerpt(case, 30_000)
    first = (part.trace.start - case.trace.start).total_seconds()
    assert part.needs[-1].time + part.needs[-1].seconds >= 7200
    assert first <= 66 * 600
    assert first + part.needs[-1].time >= 60 * 600
    assert max(each.replicas for each in part.needs) > min(each.replicas for each in part.needs)


def test_a_short_trace_is_its_own_excerpt(serverless: Subject) -> None:
    case = case_of(serverless, made(TRACE))
    assert excerpt(case, 1_000_000) is case
    assert excerpt(case, 10) is case, "two hours at the least"


def test_a_long_trace_is_searched_in_excerpts(
    serverless: Subject, found: Tunable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LEAST_SECONDS", 300.0)
    monkeypatch.setattr(search, "SHORT_REQUESTS", 300)
    monkeypatch.setattr(search, "LONG_REQUESTS", 1200)
    monkeypatch.setattr(search, "FINALISTS", 2)
    said: list[str] = []
    result = tune(case_of(serverless, made("diurnal,hours=1,rate=1")), found, said.append)
    names = [name for name, _ in result.tried]
    assert len(names) == 3
    assert names[0].startswith("hours ")
    assert names[2] == "the whole trace"
    assert result.tried[2][1] <= 3
    assert said[-1].endswith("done")


# --- The command --------------------------------------------------------------------------------------------------


def test_the_command_prints_a_snippet_that_renders_and_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untuned = tmp_path / "untuned.yaml"
    untuned.write_text(UNTUNED, encoding="utf-8")
    words = ["tune", PRESET, "--values", str(untuned), "--trace", f"synthetic:{TRACE}", "--slo", "ttft_p95=2s"]
    tmp_path /= "out"
    assert cli.main([*words, "--slo", "e2e_p95=60s", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "keeps the objectives at the least cost" in shown.out
    assert "it renders as simulated, and chartproof check finds nothing new" in shown.out
    assert "settings on the whole trace; done" in shown.err
    assert {each.name for each in tmp_path.iterdir()} == {"tune.json", "values.yaml", "front.svg", "front.png"}
    values = tmp_path / "values.yaml"
    assert cli.main(["check", PRESET, "--values", str(values)]) == 0
    written = json.loads((tmp_path / "tune.json").read_text(encoding="utf-8"))
    assert written["snippet"] == yaml.safe_load(values.read_text(encoding="utf-8"))
    assert written["objectives"] == ["ttft_p95=2s", "e2e_p95=60s"]
    assert written["choice"]["gpuHours"] <= written["preset"]["gpuHours"]


def test_the_same_seed_prints_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", PRESET, "--trace", "synthetic:constant,hours=0.2,rate=6", "--format", "json"]
    cli.main(words)
    first = capsys.readouterr().out
    cli.main(words)
    assert capsys.readouterr().out == first


def test_other_manifests_get_a_patch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "chat.yaml"
    manifest.write_text(FOREIGN, encoding="utf-8")
    out = tmp_path / "out"
    cli.main(["tune", str(manifest), "--trace", f"synthetic:{TRACE}", "--out", str(out)])
    shown = capsys.readouterr().out
    assert "a merge patch of the ScaledObject" in shown
    assert "not tried   weight" in shown
    patch = yaml.safe_load((out / "patch.yaml").read_text(encoding="utf-8"))
    assert (patch["kind"], patch["metadata"]["name"]) == ("ScaledObject", "chat")


def test_a_formula_of_the_presets_own_is_written_as_a_formula(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(
        "autoscaling: {formula: 'max(running + waiting * 7, wake > 0 ? 1 : 0)', targetPerReplica: 77,"
        " signals: {tokens: {enabled: false}}}",
        encoding="utf-8",
    )
    words = ["tune", PRESET, "--values", str(own), "--trace", f"synthetic:{TRACE}", "--format", "json"]
    assert cli.main([*words, "--slo", "ttft_p50=80ms"]) in {0, 1}
    found = json.loads(capsys.readouterr().out)
    assert found["problem"] == ""
    scaling = found["snippet"]["autoscaling"]
    assert "waitingWeight" not in scaling
    weight = found["choice"]["settings"]["weight"]
    if weight != 7:
        assert ("max(running + waiting," if weight == 1 else f"waiting * {weight:g}") in scaling["formula"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--trace", "synthetic:sawtooth"], 2, "there is no synthetic trace"),
        (["--trace", f"synthetic:{TRACE}", "--slo", "fast"], 2, "'fast' is no objective"),
        (["--trace", f"synthetic:{TRACE}", "--hours", "3"], 2, "'3' is no span of hours"),
        (["--trace", f"synthetic:{TRACE}", "--hours", "8-9"], 3, "has no request in hours 8-9"),
        (["--trace", "no-such-file.csv"], 3, "cannot be read"),
    ],
)
def test_wrong_words_are_refused(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", PRESET, *words]) == code
    assert message in capsys.readouterr().err


def test_two_releases_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    other = str(presets.path_of("llama-3.1-8b-awq-g6"))
    assert cli.main(["tune", PRESET, other, "--trace", f"synthetic:{TRACE}"]) == 2
    assert "one release can be tuned at a time" in capsys.readouterr().err
