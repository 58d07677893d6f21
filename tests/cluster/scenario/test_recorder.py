"""What is read of objects and answers, on ones as the real programs write them."""

from __future__ import annotations

from typing import Any

import pytest

from chartproof.cluster.scenario import recorder
from chartproof.cluster.scenario.recorder import Scaled, Written
from chartproof.cluster.scenario.surroundings import queue_of


def hpa(current: int, desired: int, average: str, reason: str = "SucceededRescale") -> dict[str, Any]:
    metric = {"name": "s0-prometheus", "selector": {"matchLabels": {"scaledobject.keda.sh/name": "chat"}}}
    return {
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "chat"}},
        "status": {
            "currentReplicas": current,
            "desiredReplicas": desired,
            "currentMetrics": [
                {"type": "External", "external": {"metric": metric, "current": {"averageValue": average}}}
            ],
            "conditions": [{"type": "AbleToScale", "status": "True", "reason": reason}],
        },
    }


def test_the_metric_is_the_average_times_what_existed_when_the_hpa_looked() -> None:
    # The deployment controller was quick: when the status came, four replicas existed already.
    statuses = [Written(301.0, "burst", hpa(1, 4, "95"), 4)]
    (made,) = recorder.passes_of(statuses, [Scaled(300.5, "burst", 1, 4, 1)], 15.0)
    assert (made.before, made.after, made.current, made.metric) == (1, 4, 1, 95.0)
    assert made.reasons == {"AbleToScale": "SucceededRescale"}


def test_a_pass_that_keeps_the_count_goes_by_what_exists() -> None:
    (made,) = recorder.passes_of([Written(320.0, "burst", hpa(4, 4, "8750m", "ReadyForNewScale"), 4)], [], 15.0)
    assert (made.current, made.metric) == (4, 35.0)


def test_the_same_status_twice_is_one_pass() -> None:
    written = [Written(second, "burst", hpa(4, 4, "8750m"), 4) for second in (320.0, 335.0)]
    assert len(recorder.passes_of(written, [], 15.0)) == 1


def test_every_change_has_an_author() -> None:
    changes = [
        Scaled(75.0, "burst", 0, 1, 0),
        Scaled(300.0, "burst", 1, 4, 1),
        Scaled(900.0, "quiet", 4, 3, 4),
        Scaled(1200.0, "quiet", 3, 0, 3),
    ]
    passes = recorder.passes_of([Written(299.0, "burst", hpa(1, 4, "95"), 1)], changes, 22.0)
    made = recorder.decisions_of(changes, passes, 22.0)
    assert [each.controller for each in made] == ["keda", "hpa", "other", "keda"]
    assert (made[1].metric, made[1].reason) == (95.0, "SucceededRescale")


def test_a_status_from_long_ago_explains_nothing() -> None:
    changes = [Scaled(300.0, "burst", 1, 4, 1)]
    passes = recorder.passes_of([Written(100.0, "burst", hpa(1, 4, "95"), 1)], [], 22.0)
    assert recorder.decisions_of(changes, passes, 22.0)[0].controller == "other"


@pytest.mark.parametrize(
    ("current", "total"),
    [
        ({"value": "12500m"}, 12.5),
        ({"averageValue": "2"}, 6.0),
        ({}, None),
        ({"value": "x"}, None),
        # What the HPA writes where the scale had no replica yet.
        ({"averageValue": "-9223372036854775808m"}, None),
    ],
)
def test_metrics_are_totals(current: dict[str, str], total: float | None) -> None:
    body = {"status": {"currentMetrics": [{"type": "External", "external": {"current": current}}]}}
    assert recorder.metric_of(body, 3) == total


def test_conditions_are_true_false_or_unknown() -> None:
    body = {"status": {"conditions": [{"type": "Active", "status": "True"}, {"type": "Fallback", "status": "False"}]}}
    assert recorder.condition(body, "Active") is True
    assert recorder.condition(body, "Fallback") is False
    assert recorder.condition(body, "Paused") is None
    assert recorder.condition({"status": {"conditions": [{"type": "Active", "status": "Unknown"}]}}, "Active") is None
    assert recorder.condition(None, "Active") is None


def test_workloads_without_status_have_no_replicas() -> None:
    assert (recorder.replicas_of({"spec": {}}), recorder.current_of({}), recorder.ready_of({})) == (1, 0, 0)
    assert recorder.replicas_of({"spec": {"replicas": 0}}) == 0


class Prices:
    def usd_per_hour(self, instance: str, capacity: str) -> float:
        return {"g6.xlarge": 1.0}[instance] * (0.5 if capacity == "spot" else 1.0)


def test_claims_cost_from_the_moment_they_have_a_machine() -> None:
    def claim(**labels: str) -> dict[str, Any]:
        return {"metadata": {"labels": {"karpenter.sh/nodepool": "gpu", **labels}}}

    instance = "node.kubernetes.io/instance-type"
    claims = [
        claim(),
        claim(**{instance: "g6.xlarge", "karpenter.sh/capacity-type": "on-demand"}),
        claim(**{instance: "g6.xlarge", "karpenter.sh/capacity-type": "spot"}),
        {"metadata": {"labels": {instance: "m7i.large"}}},
    ]
    assert recorder.claims_of(claims, Prices()) == ({"claimed": 1, "g6.xlarge": 2}, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ({"data": {"result": [{"value": [1.0, "12.5"]}]}}, 12.5),
        ({"data": {"result": [{"value": [1.0, "NaN"]}]}}, None),
        ({"data": {"result": []}}, None),
        ({"status": "error"}, None),
        (None, None),
    ],
)
def test_an_answer_of_prometheus_is_a_number_or_nothing(answer: object, value: float | None) -> None:
    assert recorder.value_of(answer) == value


def test_alerts_that_fire_about_this_release() -> None:
    def alert(name: str, state: str = "firing", **labels: str) -> dict[str, Any]:
        return {"state": state, "labels": {"alertname": name, **labels}}

    alerts = [
        alert("Ours", namespace="chat"),
        alert("Nobodys"),
        alert("Theirs", namespace="other"),
        alert("Soon", "pending", namespace="chat"),
        alert("Watchdog", namespace="chat", severity="none"),
    ]
    assert recorder.firing({"data": {"alerts": alerts}}, "chat") == ("Nobodys", "Ours")
    assert recorder.firing(None, "chat") == ()


def test_the_composite_is_found_however_it_is_scraped() -> None:
    query = recorder.composite_query("chat", "scaler")
    assert query.count('scaler="composite-metric"') == 2
    assert 'exported_namespace="chat"' in query


def test_the_queue_of_a_model_is_its_own() -> None:
    def engine(namespace: str, model: str, running: int, waiting: int) -> dict[str, Any]:
        return {"namespace": namespace, "model": model, "running": running, "waiting": waiting}

    state = {
        "engines": [engine("chat", "small", 3, 1), engine("chat", "small", 4, 0), engine("other", "small", 9, 9)],
        "held": {"small": 5, "large": 7},
    }
    queue = queue_of(state, "chat", "small")
    assert (queue.running, queue.waiting, queue.held) == (7, 1, 5)
