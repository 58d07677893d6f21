from __future__ import annotations

import pytest

from chartproof.languages.quantity import parse_quantity
from chartproof.simulate.hpa import (
    Decision,
    Hpa,
    HpaSpec,
    Metric,
    Policy,
    PolicyType,
    ScalingRules,
    SelectPolicy,
    approximate,
)

OUR_SCALE_UP = ScalingRules((Policy(PolicyType.PERCENT, 900, 15), Policy(PolicyType.PODS, 9, 15)), 0)
AT_ONCE_DOWN = ScalingRules((Policy(PolicyType.PERCENT, 100, 15),), 0)


def _pass(hpa: Hpa, now: float, replicas: int, load: float, *, status: int | None = None) -> Decision:
    metric = Metric(int(load * 1000), 25_000)
    return hpa.reconcile(
        now,
        spec_replicas=replicas,
        status_replicas=replicas if status is None else status,
        ready_pods=0,
        metrics=[metric],
    )


@pytest.mark.parametrize(("start", "reached"), [(1, 10), (2, 20), (10, 100)])
def test_the_charts_behavior_grows_tenfold_in_one_pass(start: int, reached: int) -> None:
    hpa = Hpa(HpaSpec(1, 1000, OUR_SCALE_UP))
    assert _pass(hpa, 15, start, load=1e6).replicas == reached


@pytest.mark.parametrize(
    ("load", "replicas", "expected"),
    [(110, 4, 4), (110.001, 4, 5), (90, 4, 4), (89.9, 4, 4), (27.5, 1, 1), (27.6, 1, 2)],
)
def test_ratios_within_a_tenth_hold(load: float, replicas: int, expected: int) -> None:
    hpa = Hpa(HpaSpec(1, 100, OUR_SCALE_UP, AT_ONCE_DOWN))
    assert _pass(hpa, 15, replicas, load).replicas == expected


def test_within_the_tolerance_the_pods_that_exist_are_the_proposal() -> None:
    """During a rollout with a surge pod status exceeds spec, and that lifts spec."""
    hpa = Hpa(HpaSpec(1, 100, OUR_SCALE_UP, AT_ONCE_DOWN))
    assert _pass(hpa, 15, 4, load=125, status=5).replicas == 5


def test_zero_replicas_are_left_alone() -> None:
    hpa = Hpa(HpaSpec(1, 100))
    decision = _pass(hpa, 15, 0, load=1000, status=0)
    assert not decision.scaled
    assert decision.raw is None


def test_bounds_are_enforced_without_looking_at_metrics() -> None:
    hpa = Hpa(HpaSpec(2, 5))
    assert _pass(hpa, 15, 9, load=0).replicas == 5
    assert _pass(hpa, 30, 1, load=0).replicas == 2


def test_an_unreadable_metric_holds() -> None:
    hpa = Hpa(HpaSpec(1, 10, OUR_SCALE_UP, AT_ONCE_DOWN))
    unreadable = [Metric(None, 25000)]
    decision = hpa.reconcile(15, spec_replicas=4, status_replicas=4, ready_pods=4, metrics=unreadable)
    assert (decision.replicas, decision.reason) == (4, "metrics could not be read")


def test_with_one_of_two_metrics_unreadable_only_growth_is_allowed() -> None:
    def decide(load: float) -> int:
        hpa = Hpa(HpaSpec(1, 10, OUR_SCALE_UP, AT_ONCE_DOWN))
        metrics = [Metric(None, 25000), Metric(int(load * 1000), 25000)]
        return hpa.reconcile(15, spec_replicas=4, status_replicas=4, ready_pods=4, metrics=metrics).replicas

    assert decide(200) == 8
    assert decide(25) == 4


def test_scale_down_waits_for_its_window() -> None:
    hpa = Hpa(HpaSpec(1, 10, OUR_SCALE_UP, ScalingRules((Policy(PolicyType.PERCENT, 100, 15),), 300)))
    replicas = 4
    history = []
    for tick in range(1, 24):
        decision = _pass(hpa, 15.0 * tick, replicas, load=100 if tick == 1 else 20)
        replicas = decision.replicas
        history.append(replicas)
    assert history[:20] == [4] * 20
    # The high recommendation of the first pass is 300 s old, not younger, at the 21st.
    assert history[20] == 1


def test_policies_count_from_the_start_of_their_period() -> None:
    down = ScalingRules((Policy(PolicyType.PODS, 1, 60),), 0)
    hpa = Hpa(HpaSpec(1, 10, OUR_SCALE_UP, down))
    replicas = 5
    history = []
    for tick in range(1, 10):
        replicas = _pass(hpa, 15.0 * tick, replicas, load=20).replicas
        history.append(replicas)
    assert history == [4, 4, 4, 4, 3, 3, 3, 3, 2]


def test_the_smallest_change_counts_where_asked() -> None:
    slow = ScalingRules(
        (Policy(PolicyType.PERCENT, 900, 15), Policy(PolicyType.PODS, 2, 15)), 0, select_policy=SelectPolicy.MIN
    )
    assert _pass(Hpa(HpaSpec(1, 100, slow)), 15, 4, load=1e6).replicas == 6
    never = ScalingRules((Policy(PolicyType.PODS, 2, 15),), 0, select_policy=SelectPolicy.DISABLED)
    assert _pass(Hpa(HpaSpec(1, 100, never)), 15, 4, load=1e6).replicas == 4


def test_value_metrics_multiply_by_ready_pods() -> None:
    hpa = Hpa(HpaSpec(1, 100, OUR_SCALE_UP, AT_ONCE_DOWN))
    metric = Metric(50_000, 25_000, average=False)
    decision = hpa.reconcile(15, spec_replicas=4, status_replicas=4, ready_pods=1, metrics=[metric])
    assert decision.raw == 2


def test_every_decision_says_why() -> None:
    hpa = Hpa(HpaSpec(1, 6, OUR_SCALE_UP))
    decision = _pass(hpa, 15, 2, load=1000)
    assert (decision.raw, decision.stabilized, decision.limited, decision.replicas) == (40, 40, 6, 6)
    assert decision.reason == "the maximum"


def test_the_age_of_a_recommendation_is_exact_at_any_phase() -> None:
    """In floats 375.001 - 300 is less than 75.001, and the window would last one pass too long."""
    hpa = Hpa(HpaSpec(1, 100, OUR_SCALE_UP))
    assert _pass(hpa, 75.001, 1, load=250).replicas == 10
    assert _pass(hpa, 375.0, 10, load=25).replicas == 10
    assert _pass(hpa, 375.001, 10, load=25).replicas == 1


def test_without_a_behavior_a_pass_doubles_or_reaches_four() -> None:
    hpa = Hpa(HpaSpec.of(1, 100, None))
    assert [_pass(hpa, 15, 1, load=1e6).replicas, _pass(hpa, 30, 4, load=1e6).replicas] == [4, 8]


def test_what_a_behavior_leaves_out_is_filled_in() -> None:
    assert HpaSpec.of(1, 5, {}) == HpaSpec(1, 5)
    written = {"scaleDown": {"selectPolicy": "Disabled", "tolerance": "200m"}}
    rules = HpaSpec.of(1, 5, written).scale_down
    assert (rules.select_policy, rules.tolerance, rules.policies) == (
        "Disabled",
        0.2,
        HpaSpec(1, 5).scale_down.policies,
    )


@pytest.mark.parametrize(
    ("written", "number"), [("0.3", 0.3), ("0.009", 0.009000000000000001), ("1e-1", 0.1), ("0", 0.0), ("1500m", 1.5)]
)
def test_a_tolerance_becomes_the_controllers_float(written: str, number: float) -> None:
    assert approximate(parse_quantity(written)) == number
