"""Our controller against the real one, run in virtual time over lives that nobody thought of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from chartproof import toolchain
from chartproof.errors import ToolchainError
from chartproof.toolchain import golang, pins
from tests.simulate import hpa_traces
from tests.simulate.hpa_cases import CASES, SYNC_MILLISECONDS, Case
from tests.simulate.hpa_traces import Oracle, Trace

pytestmark = pytest.mark.slow

LEAST_TICKS = 10_000
TRACES = 400
TICKS_PER_TRACE = (30, 60)


@pytest.fixture(scope="module")
def program() -> Path:
    path = toolchain.find("hpa-oracle").path
    if path is not None:
        return path
    try:
        golang.find(pins.modules()["hpa-oracle"].go)
    except ToolchainError as error:
        pytest.skip(f"the real controller cannot be built here: {error}")
    return toolchain.resolve("hpa-oracle")


@pytest.fixture
def real(program: Path) -> Iterator[Oracle]:
    with hpa_traces.oracle(program) as asked:
        yield asked


# --- Random lives -------------------------------------------------------------------------------------------------

SECONDS = st.sampled_from((0, 1, 14, 15, 16, 30, 45, 60, 90, 300, 600)) | st.integers(0, 1800)
POLICIES = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(("Pods", "Percent")),
            "value": st.integers(1, 10) | st.sampled_from((30, 50, 99, 100, 101, 200, 900, 5000)),
            "periodSeconds": SECONDS.filter(bool),
        }
    ),
    min_size=1,
    max_size=3,
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "policies": POLICIES,
        "selectPolicy": st.sampled_from(("Max", "Min", "Disabled")),
        "stabilizationWindowSeconds": SECONDS,
        # As people write them; zero decides on every thousandth.
        "tolerance": st.sampled_from(("0", "0.009", "0.05", "0.1", "50m", "0.3", "0.15", "1", "2.5", "1e-1"))
        | st.integers(0, 1500).map(lambda milli: f"{milli}m"),
    },
)
BEHAVIORS = st.none() | st.fixed_dictionaries({}, optional={"scaleUp": RULES, "scaleDown": RULES})
REPLICAS = st.integers(0, 40) | st.sampled_from((100, 1000))


@st.composite
def values(draw: st.DrawFn, target_milli: int) -> int | None:
    """What a metric measures: failures, and what lies on the edges of the usual tolerance, often enough."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return None
    if kind == 1:
        return draw(st.sampled_from((0, -1, -(2**63), 2**63 - 1, 2**53 + 1, target_milli * 10**6)))
    wanted = draw(st.integers(1, 40)) * target_milli
    tenths = draw(st.sampled_from((5, 9, 10, 10, 11, 13)))
    return wanted * tenths // 10 + draw(st.integers(-1, 1))


@st.composite
def traces(draw: st.DrawFn) -> dict[str, Any]:
    metrics = draw(
        st.lists(
            st.fixed_dictionaries(
                {"targetMilli": st.sampled_from((1, 1000, 25_000)) | st.integers(1, 10**6), "average": st.booleans()}
            ),
            min_size=1,
            max_size=3,
        )
    )
    least = draw(st.integers(1, 5))
    ticks: list[dict[str, Any]] = []
    now = 0
    for _ in range(draw(st.integers(*TICKS_PER_TRACE))):
        # Mostly the controller's own rhythm: windows and periods are then hit to the millisecond.
        now += SYNC_MILLISECONDS + draw(st.sampled_from((0, 0, 0, 0, 0, 1, 999, 7_000, 285_000)))
        tick: dict[str, Any] = {
            "milliseconds": now,
            "values": [draw(values(each["targetMilli"])) for each in metrics],
        }
        event = draw(st.integers(0, 11))
        if event == 0:  # KEDA, or a person
            tick["replicas"] = draw(st.sampled_from((0, 1)) | REPLICAS)
        elif event <= 3:  # a rollout, pods that do not come, pods that go slowly
            tick["statusReplicas"] = draw(REPLICAS)
        if event in {3, 4, 5}:
            tick["readyPods"] = draw(st.integers(0, 3))
        ticks.append(tick)
    return {
        "minReplicas": least,
        "maxReplicas": least + draw(st.integers(0, 40) | st.sampled_from((100, 5000))),
        "behavior": draw(BEHAVIORS),
        "replicas": draw(REPLICAS),
        "metrics": metrics,
        "ticks": ticks,
    }


def test_ten_thousand_random_ticks_show_no_difference(real: Oracle) -> None:
    compared = 0

    @settings(
        max_examples=TRACES,
        deadline=None,
        database=None,
        # A difference is told with its life up to the tick; to look for a shorter one takes minutes.
        phases=(Phase.generate,),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(traces())
    def compare(trace: Trace) -> None:
        nonlocal compared
        compared += len(trace["ticks"])
        answers = real.ask(trace)
        for index, (mine, its) in enumerate(
            zip(hpa_traces.ours(trace), hpa_traces.theirs(answers, trace), strict=True)
        ):
            assert mine == its, json.dumps({**trace, "ticks": trace["ticks"][: index + 1]})

    compare()
    assert compared >= LEAST_TICKS


# --- The recordings, and the oracle itself ------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_the_recordings_are_what_the_controller_does_today(name: str, real: Oracle) -> None:
    written = (hpa_traces.GOLDENS / f"{name}.json").read_text(encoding="utf-8")
    assert written == hpa_traces.record(CASES[name], real), "python -m tests.simulate.hpa_traces"


def _with_ticks(*ticks: dict[str, Any]) -> dict[str, Any]:
    return {**CASES["one-to-ten"].trace, "ticks": list(ticks)}


def test_the_same_life_ends_the_same_way_each_time(real: Oracle) -> None:
    trace = CASES["both-windows"].trace
    assert real.ask(trace) == real.ask(trace)


@pytest.mark.parametrize(
    ("ticks", "complaint"),
    [
        ([{"milliseconds": 14_999, "values": [1]}], "tick 0 comes 14999 ms after"),
        ([{"milliseconds": 15_000, "values": [1]}, {"milliseconds": 16_000, "values": [1]}], "tick 1 comes 1000 ms"),
        ([{"milliseconds": 15_000, "values": []}], "tick 0 has 0 values for 1 metrics"),
    ],
)
def test_a_trace_that_the_controller_cannot_live_is_refused(
    ticks: list[dict[str, Any]], complaint: str, real: Oracle
) -> None:
    with pytest.raises(ValueError, match=complaint):
        real.ask(_with_ticks(*ticks))
    assert real.ask(_with_ticks({"milliseconds": 15_000, "values": [250_000]}))[0]["replicas"] == 10


def test_a_wrong_controller_is_found_out(monkeypatch: pytest.MonkeyPatch, real: Oracle) -> None:
    """Traces that any controller passes would prove nothing."""
    monkeypatch.setattr("chartproof.simulate.hpa.Hpa._within_tolerance", lambda _hpa, ratio: 0.9 < ratio < 1.1)
    trace = CASES["tolerance-edges"].trace
    assert hpa_traces.ours(trace) != hpa_traces.theirs(real.ask(trace), trace)


def test_a_golden_file_can_be_read_line_by_line(real: Oracle) -> None:
    case = Case("why", CASES["one-to-ten"].trace)
    recorded = json.loads(hpa_traces.record(case, real))
    assert [answer["replicas"] for _, answer in recorded["ticks"]] == [10, 10, 10]
