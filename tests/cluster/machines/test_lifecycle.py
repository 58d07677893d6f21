"""Statuses, phases and pauses of pods: what the real kubelet would write."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chartproof.cluster.machines import lifecycle
from chartproof.cluster.machines.lifecycle import BackOff, PodRecord, Running, Terminated, Timing, Waiting
from chartproof.plan import ColdStart, Phase
from tests.cluster.machines.doubles import container, pod

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)

RUNNING = Running(NOW)
DONE = Terminated(0, "Completed")
BROKEN = Terminated(1, "Error")
CRASHING = Waiting("CrashLoopBackOff")
CREATING = Waiting("ContainerCreating")


def record(body: dict[str, Any], *states: Any, init: tuple[Any, ...] = (), over: bool = False) -> PodRecord:
    """A record in which the containers are in these states; a state may be a pair of state and last end."""
    found = lifecycle.first_record(body, now=NOW, host_address="10.65.0.1")

    def put(known: lifecycle.ContainerRecord, state: Any) -> lifecycle.ContainerRecord:
        now, last = state if isinstance(state, tuple) else (state, None)
        up = isinstance(now, Running)
        return replace(known, state=now, last=last, started=up, ready=up)

    return replace(
        found,
        over=over,
        address="10.64.0.1",
        containers=tuple(map(put, found.containers, states)),
        init=tuple(map(put, found.init, init)),
    )


@pytest.mark.parametrize(
    ("policy", "states", "expected"),
    [
        ("Always", (CREATING, CREATING), "Pending"),
        ("Always", (RUNNING, CREATING), "Pending"),
        ("Always", (RUNNING, RUNNING), "Running"),
        ("Always", (RUNNING, (CRASHING, BROKEN)), "Running"),
        ("Always", ((CRASHING, BROKEN), (CRASHING, BROKEN)), "Running"),
        ("Always", (DONE, DONE), "Running"),
        ("OnFailure", (DONE, BROKEN), "Running"),
        ("OnFailure", (DONE, DONE), "Succeeded"),
        ("Never", (DONE, RUNNING), "Running"),
        ("Never", (DONE, BROKEN), "Failed"),
        ("Never", (DONE, DONE), "Succeeded"),
    ],
)
def test_phase_of_containers(policy: str, states: tuple[Any, ...], expected: str) -> None:
    body = pod(container("a"), container("b"), restartPolicy=policy)
    assert lifecycle.phase(body, record(body, *states)) == expected


@pytest.mark.parametrize(
    ("policy", "init", "expected"),
    [
        ("Always", (RUNNING, Waiting("PodInitializing")), "Pending"),
        ("Always", (DONE, (CRASHING, BROKEN)), "Pending"),
        ("Never", (DONE, BROKEN), "Failed"),
        ("OnFailure", (DONE, BROKEN), "Pending"),
    ],
)
def test_phase_while_init_containers_run(policy: str, init: tuple[Any, ...], expected: str) -> None:
    body = pod(container("a"), initContainers=[container("b"), container("c")], restartPolicy=policy)
    assert lifecycle.phase(body, record(body, Waiting("PodInitializing"), init=init)) == expected


def test_a_pod_that_is_over_has_a_final_phase_whatever_its_policy() -> None:
    body = pod(container("a"))
    assert lifecycle.phase(body, record(body, DONE, over=True)) == "Succeeded"
    assert lifecycle.phase(body, record(body, BROKEN, over=True)) == "Failed"
    assert lifecycle.phase(body, lifecycle.ended(record(body, CREATING))) == "Failed"


def test_a_running_sidecar_alone_does_not_keep_a_pod_from_pending_until_it_has_started() -> None:
    body = pod(container("a"), initContainers=[container("proxy", restartPolicy="Always")])
    waiting = record(body, Waiting("PodInitializing"), init=(RUNNING,))
    starting = waiting.changed(replace(waiting.container("proxy"), started=False))
    assert lifecycle.phase(body, starting) == "Pending"
    assert lifecycle.phase(body, record(body, RUNNING, init=(RUNNING,))) == "Running"


def conditions(body: dict[str, Any], found: PodRecord, before: Any = ()) -> dict[str, dict[str, Any]]:
    status = lifecycle.pod_status(body, found, before, now=LATER)
    return {each["type"]: each for each in status["conditions"]}


def test_a_new_pod_is_scheduled_and_nothing_else() -> None:
    body = pod(container("a"), initContainers=[container("b")])
    found = conditions(body, lifecycle.first_record(body, now=NOW, host_address=""))
    assert {name: each["status"] for name, each in found.items()} == {
        "PodScheduled": "True",
        "PodReadyToStartContainers": "False",
        "Initialized": "False",
        "ContainersReady": "False",
        "Ready": "False",
    }
    assert found["Initialized"]["reason"] == "ContainersNotInitialized"
    assert found["Initialized"]["message"] == "containers with incomplete status: [b]"
    assert found["Ready"]["reason"] == "ContainersNotReady"
    assert found["Ready"]["message"] == "containers with unready status: [a]"


def test_conditions_keep_the_time_of_their_last_change() -> None:
    body = pod(container("a"))
    before = [
        {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-24T11:00:00Z"},
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-24T11:00:00Z"},
    ]
    found = conditions(body, record(body, RUNNING), before)
    assert found["PodScheduled"]["lastTransitionTime"] == "2026-11-24T11:00:00Z"
    assert found["Ready"]["lastTransitionTime"] == "2026-11-24T12:05:00Z"
    assert found["Ready"]["reason"] is None


def test_a_readiness_gate_of_somebody_else_counts() -> None:
    body = pod(container("a"), readinessGates=[{"conditionType": "target-health"}])
    assert conditions(body, record(body, RUNNING))["Ready"]["reason"] == "ReadinessGatesNotReady"
    body["status"]["conditions"] = [{"type": "target-health", "status": "True"}]
    assert conditions(body, record(body, RUNNING))["Ready"]["status"] == "True"


def test_a_container_status_says_how_it_ended_and_how_it_ended_before() -> None:
    body = pod(container("a"))
    end = Terminated(137, "OOMKilled", NOW, LATER, identity="containerd://1")
    found = record(body, CREATING)
    found = found.changed(replace(found.container("a"), state=Running(LATER), last=end, restarts=3, identity="x"))
    (status,) = lifecycle.pod_status(body, found, (), now=LATER)["containerStatuses"]
    assert status["restartCount"] == 3
    assert status["state"] == {"running": {"startedAt": "2026-11-24T12:05:00Z"}}
    assert status["lastState"]["terminated"] == {
        "exitCode": 137,
        "reason": "OOMKilled",
        "startedAt": "2026-11-24T12:00:00Z",
        "finishedAt": "2026-11-24T12:05:00Z",
        "containerID": "containerd://1",
    }
    assert status["imageID"].startswith("a:1@sha256:")


def test_the_first_restart_is_at_once_and_each_further_one_waits_twice_as_long_up_to_five_minutes() -> None:
    back_off, now, waits = BackOff(), 0.0, []
    for _ in range(8):
        wait = back_off.wait(finished=now)
        waits.append(wait)
        back_off = back_off.next(now, now + wait)
        now += wait + 1
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]


def test_a_container_that_ran_for_over_ten_minutes_starts_from_the_beginning() -> None:
    back_off = BackOff(160, restarted=1000)
    assert back_off.wait(finished=1000 + 600) == 160
    assert back_off.wait(finished=1000 + 601) == 0
    assert back_off.next(1601, 1601) == BackOff(10, 1601)


@pytest.mark.parametrize(
    ("hook", "seconds"),
    [
        (None, 0),
        ({"sleep": {"seconds": 15}}, 15),
        ({"exec": {"command": ["sleep", "20"]}}, 20),
        ({"exec": {"command": ["/bin/sh", "-c", "sleep 5; nginx -s quit; sleep 0.5m"]}}, 35),
        ({"exec": {"command": ["/bin/sh", "-c", "curl localhost/drain"]}}, 0),
        ({"httpGet": {"path": "/drain", "port": 8000}}, 0),
    ],
)
def test_seconds_of_hooks(hook: Any, seconds: float) -> None:
    assert lifecycle.hook_seconds(hook) == seconds


def test_the_grace_period_is_that_of_the_deletion_then_of_the_probe_then_of_the_pod() -> None:
    body = pod(container())
    assert lifecycle.grace_seconds(body) == 30
    assert lifecycle.grace_seconds(body, {"terminationGracePeriodSeconds": 7}) == 7
    body["metadata"]["deletionGracePeriodSeconds"] = 3
    assert lifecycle.grace_seconds(body, {"terminationGracePeriodSeconds": 7}) == 3
    assert lifecycle.grace_seconds({"metadata": {}, "spec": {}}) == 30


@pytest.mark.parametrize(
    ("policy", "code", "init", "again"),
    [
        ("Always", 0, False, True),
        ("Always", 0, True, False),
        ("Always", 1, True, True),
        ("OnFailure", 0, False, False),
        ("OnFailure", 1, False, True),
        ("Never", 1, False, False),
        ("Never", 1, True, False),
    ],
)
def test_what_is_started_again(policy: str, code: int, *, init: bool, again: bool) -> None:
    body = pod(container(), restartPolicy=policy)
    assert lifecycle.restarts(body, container(), code, init=init) is again


PLAN = ColdStart(
    (
        Phase("boot", 40),
        Phase("image pull", 23),
        Phase("container start", 3),
        Phase("weights download", 48),
        Phase("process start", 36, in_container=True),
    )
)


def test_the_plan_says_how_long_image_sandbox_and_download_take() -> None:
    download = container("download-weights", args=["fetch", "--source", "s3://bucket/model"])
    body = pod(container(), container("proxy"), initContainers=[container("wait-for-network"), download])
    timing = lifecycle.timing(body, {"vllm": PLAN})
    assert timing == Timing(3, {"vllm:1": 23}, {"download-weights": 48})
    assert timing.errand(download) == 48
    assert timing.errand(container("wait-for-network")) == lifecycle.ERRAND_SECONDS


def test_a_pod_without_a_plan_waits_for_nothing() -> None:
    assert lifecycle.timing(pod(container("nginx")), {}) == Timing()


def test_events_name_the_container_within_the_pod() -> None:
    body = pod(container("a"), initContainers=[container("b")])
    assert lifecycle.field_path(body, "a") == "spec.containers{a}"
    assert lifecycle.field_path(body, "b") == "spec.initContainers{b}"
    assert lifecycle.field_path(body, "") == ""
    assert lifecycle.pulled(container("a"), 1.55).message.startswith('Successfully pulled image "a:1" in 1.55s (')
