from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from chartproof.autoscaler import Autoscaler
from chartproof.errors import InputError
from chartproof.simulate.hpa import Metric, PolicyType, SelectPolicy
from chartproof.simulate.keda import Keda, ScalerError, hpa_spec, scalers_of
from chartproof.simulate.series import Database
from tests.simulate.keda_objects import cron, formula, prometheus, scaled_object

START = datetime(2026, 1, 5, tzinfo=UTC)


class Source:
    """A trigger whose value a test sets; None: it fails."""

    def __init__(self, value: float | None = 0.0) -> None:
        self.value = value

    def __call__(self, _: float) -> float:
        if self.value is None:
            raise ScalerError("down")
        return self.value


def keda(scaler: Autoscaler, *sources: Callable[[float], float]) -> Keda:
    return Keda(scaler, sources, start=START)


def simple(**spec: Any) -> tuple[Keda, Source]:
    source = Source()
    modifiers = spec.pop("advanced", formula("running"))
    return keda(scaled_object(triggers=[prometheus("running")], advanced=modifiers, **spec), source), source


def test_a_signal_wakes_zero_to_one_and_no_further() -> None:
    loop, source = simple()
    source.value = 900
    poll = loop.poll(0, 0, 0)
    assert (poll.replicas, poll.reason) == (1, "active: woken")
    assert loop.poll(15, 1, 1).replicas == 1


def test_waking_goes_to_the_minimum_where_there_is_one() -> None:
    loop, source = simple(minReplicaCount=3)
    source.value = 1
    assert loop.poll(0, 0, 0).replicas == 3
    source.value = 0
    assert loop.poll(15, 1, 1).replicas == 3


def test_any_count_goes_to_zero_in_one_step_after_the_cooldown() -> None:
    loop, source = simple(cooldownPeriod=60)
    source.value = 5
    loop.poll(100.9, 10, 10)
    source.value = 0
    assert loop.poll(160, 10, 10).replicas == 10, (
        "the last activity is kept in whole seconds: 100 + 60 is not before 160"
    )
    assert loop.poll(160.1, 10, 10).replicas == 0


def test_an_object_that_was_never_active_waits_for_the_initial_cooldown_only() -> None:
    loop, _ = simple(cooldownPeriod=600)
    assert loop.poll(0.5, 4, 4).replicas == 0
    loop, _ = simple(cooldownPeriod=0, initialCooldownPeriod=100)
    assert loop.poll(100, 4, 4).replicas == 4
    assert loop.poll(101, 4, 4).replicas == 0


def test_the_activation_target_is_strict_and_also_the_line_of_deactivation() -> None:
    loop, source = simple(advanced=formula("running", activationTarget="5"), cooldownPeriod=10)
    source.value = 5
    assert not loop.poll(0, 0, 0).active
    source.value = 5.001
    assert loop.poll(1, 0, 0).active
    source.value = 5
    assert loop.poll(30, 3, 3).replicas == 0


def test_idle_replicas_stand_in_for_zero() -> None:
    loop, source = simple(minReplicaCount=2, idleReplicaCount=0, cooldownPeriod=10)
    source.value = 1
    assert loop.poll(0, 0, 0).replicas == 2
    source.value = 0
    assert loop.poll(20, 5, 5).replicas == 0


def test_an_error_without_fallback_holds_both_ways() -> None:
    loop, source = simple(cooldownPeriod=0)
    source.value = None
    assert loop.poll(0, 0, 0).replicas == 0
    assert loop.poll(1000, 7, 7).replicas == 7
    assert loop.metrics(1000, 7, 7) == [Metric(None, 25_000)]


def test_one_failing_trigger_holds_all() -> None:
    scaler = scaled_object(triggers=[prometheus("a"), prometheus("b")], advanced=formula("a"))
    assert keda(scaler, Source(100), Source(None)).metrics(0, 1, 1)[0].value_milli is None


@pytest.mark.parametrize(
    ("behavior", "replicas", "current", "expected"),
    [
        ("static", 6, 2, 6),
        ("currentReplicas", 6, 2, 2),
        ("currentReplicasIfHigher", 6, 2, 6),
        ("currentReplicasIfHigher", 6, 9, 9),
        ("currentReplicasIfLower", 6, 2, 2),
        ("currentReplicasIfLower", 6, 9, 6),
    ],
)
def test_the_fallback_stands_in_after_more_failures_than_its_threshold(
    behavior: str, replicas: int, current: int, expected: int
) -> None:
    loop, source = simple(fallback={"failureThreshold": 3, "replicas": replicas, "behavior": behavior})
    source.value = None
    # Polls of the loop and pulls of the HPA both count.
    for pull in range(3):
        assert loop.metrics(pull, current, current)[0].value_milli is None
    assert loop.metrics(3, current, current) == [Metric(expected * 25_000, 25_000)]
    source.value = 1
    assert loop.metrics(4, current, current) == [Metric(1000, 25_000)]
    source.value = None
    assert loop.metrics(5, current, current)[0].value_milli is None


def test_a_fallback_wakes_zero_but_the_current_replicas_do_not() -> None:
    for behavior, expected in (("static", 1), ("currentReplicas", 0)):
        loop, source = simple(fallback={"failureThreshold": 0, "replicas": 2, "behavior": behavior})
        source.value = None
        assert loop.poll(0, 0, 0).replicas == expected


def test_a_fractional_target_switches_the_fallback_off() -> None:
    loop, source = simple(advanced=formula("running", "25.5"), fallback={"failureThreshold": 0, "replicas": 2})
    source.value = None
    assert loop.metrics(0, 1, 1)[0].value_milli is None


def test_a_formula_that_fails_at_run_time_is_inactive_without_an_error() -> None:
    loop, source = simple(advanced=formula("running > 2 ? 5 : 0"), cooldownPeriod=10)
    source.value = 3
    poll = loop.poll(100, 2, 2)
    assert (poll.active, poll.composite) in ((True, 5.0), (False, None))


def test_the_composite_is_cut_to_thousandths() -> None:
    loop, source = simple(advanced=formula("running / 3"))
    source.value = 2
    assert loop.metrics(0, 1, 1) == [Metric(666, 25_000)]


def test_without_a_formula_each_trigger_is_a_metric_and_any_keeps_awake() -> None:
    scaler = scaled_object(
        triggers=[prometheus(threshold="5"), prometheus(threshold="2", activationThreshold="3")], cooldownPeriod=0
    )
    loop = keda(scaler, Source(0), Source(4))
    assert loop.metrics(0, 1, 1) == [Metric(0, 5000), Metric(4000, 2000)]
    assert loop.poll(0, 0, 0).replicas == 1
    assert keda(scaler, Source(0), Source(3)).poll(0, 0, 0).replicas == 0


def test_cached_metrics_are_those_of_the_last_poll() -> None:
    trigger = {**prometheus("running"), "useCachedMetrics": True}
    source = Source(10)
    loop = keda(scaled_object(triggers=[trigger], advanced=formula("running")), source)
    loop.poll(0, 1, 1)
    source.value = 50
    assert loop.metrics(5, 1, 1) == [Metric(10_000, 25_000)]


def cron_value(start: str, end: str, timezone: str, moment: datetime) -> float:
    scaler = scaled_object(triggers=[cron("office", start, end, timezone, "3")])
    return scalers_of(scaler, Database(), START)[0]((moment - START).total_seconds())


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 1, 5, 6, 59, 59, tzinfo=UTC), 0),
        (datetime(2026, 1, 5, 7, 0, tzinfo=UTC), 3),
        (datetime(2026, 1, 5, 18, 59, 59, tzinfo=UTC), 3),
        (datetime(2026, 1, 5, 19, 0, tzinfo=UTC), 0),
        (datetime(2026, 1, 10, 12, 0, tzinfo=UTC), 0),
        (datetime(2026, 1, 12, 12, 0, tzinfo=UTC), 3),
    ],
)
def test_a_cron_window_opens_and_closes_in_its_timezone(moment: datetime, expected: float) -> None:
    assert cron_value("0 8 * * 1-5", "0 20 * * 1-5", "Europe/Berlin", moment) == expected


def test_different_weekdays_in_start_and_end_leave_the_weekend_open() -> None:
    assert cron_value("0 8 * * 1-5", "0 22 * * *", "UTC", datetime(2026, 1, 10, 12, tzinfo=UTC)) == 3


@pytest.mark.parametrize(("text", "expected"), [("true", 0.0), ("false", None)])
def test_an_empty_result_is_zero_or_an_error(text: str, expected: float | None) -> None:
    scaler = scaled_object(triggers=[prometheus("x", ignoreNullValues=text)])
    read = scalers_of(scaler, Database(), START)[0]
    if expected is None:
        with pytest.raises(ScalerError):
            read(0)
    else:
        assert read(0) == expected


def test_several_series_are_an_error() -> None:
    database = Database()
    for pod in "ab":
        database.add("x", {"pod": pod}).append(0, 1)
    read = scalers_of(scaled_object(triggers=[prometheus("x", "x")]), database, START)[0]
    with pytest.raises(ScalerError, match="several"):
        read(0)


@pytest.mark.parametrize(
    "trigger", [{"type": "cpu", "metadata": {"value": "50"}}, prometheus("x", "topk(1, x)"), prometheus("x", "sum(")]
)
def test_a_trigger_that_is_not_simulated_is_refused(trigger: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="not simulated"):
        scalers_of(scaled_object(triggers=[trigger]), Database(), START)


def test_the_hpa_has_the_rendered_behavior_and_the_defaults_for_the_rest() -> None:
    down = {
        "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
        "stabilizationWindowSeconds": 120,
        "selectPolicy": "Min",
        "tolerance": "0.2",
    }
    spec = hpa_spec(
        scaled_object(
            triggers=[prometheus("a")],
            minReplicaCount=0,
            maxReplicaCount=8,
            advanced={"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": down}}},
        )
    )
    assert (spec.min_replicas, spec.max_replicas) == (1, 8)
    assert [each.type for each in spec.scale_up.policies] == [PolicyType.PODS, PolicyType.PERCENT]
    assert spec.scale_down.stabilization_window_seconds == 120
    assert spec.scale_down.select_policy is SelectPolicy.MIN
    assert spec.scale_down.tolerance == 0.2
