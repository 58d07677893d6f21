"""Events as they arrive at the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from chartproof.cluster.machines import lifecycle
from chartproof.cluster.machines.events import Recorder
from chartproof.cluster.machines.watch import Client
from chartproof.cluster.speed import Speed
from tests.cluster.machines import virtual
from tests.cluster.machines.doubles import container, pod, refusal, wall

POD = pod(container())
UNHEALTHY = lifecycle.unhealthy(container(), "Startup probe failed: no")


class Store:
    """Keeps events, and what was changed in them."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.changed: list[tuple[str, dict[str, Any]]] = []
        self.refuses = False

    async def request(self, method: str, path: str, *, body: dict[str, Any], **_more: Any) -> dict[str, Any]:
        if self.refuses:
            self.refuses = False
            raise refusal()
        if method == "POST":
            self.created.append(dict(body))
        else:
            self.changed.append((path, body))
        return {}


def play(story: Callable[[Recorder, Store], Any], speed: float = 1) -> Store:
    store = Store()

    async def told() -> None:
        recorder = Recorder(cast("Client", store), Speed(speed), wall)
        running = asyncio.create_task(recorder.run())
        await story(recorder, store)
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual.run(told())
    return store


def test_an_event_names_pod_container_and_node() -> None:
    async def story(recorder: Recorder, _store: Store) -> None:
        recorder.record(POD, UNHEALTHY)

    (found,) = play(story).created
    assert found["involvedObject"]["fieldPath"] == "spec.containers{vllm}"
    assert found["involvedObject"]["uid"] == "pod-1"
    assert found["source"] == {"component": "kubelet", "host": "gpu-1"}
    assert (found["type"], found["reason"], found["count"]) == ("Warning", "Unhealthy", 1)


def test_the_same_again_is_counted_in_the_same_event() -> None:
    async def story(recorder: Recorder, _store: Store) -> None:
        for _ in range(3):
            recorder.record(POD, UNHEALTHY)
            await asyncio.sleep(10)

    store = play(story)
    assert len(store.created) == 1
    assert [body["count"] for _, body in store.changed] == [2, 3]
    assert store.changed[0][0].endswith(store.created[0]["metadata"]["name"])


def test_a_pod_of_the_same_name_has_events_of_its_own() -> None:
    async def story(recorder: Recorder, _store: Store) -> None:
        recorder.record(POD, UNHEALTHY)
        recorder.record(pod(container(), uid="pod-2"), UNHEALTHY)

    assert len(play(story).created) == 2


def test_after_25_events_a_pod_has_one_in_five_simulated_minutes() -> None:
    async def story(recorder: Recorder, _store: Store) -> None:
        for number in range(100):
            recorder.record(POD, lifecycle.unhealthy(container(), f"no {number}"))
        await asyncio.sleep(21)
        recorder.record(POD, lifecycle.unhealthy(container(), "later"))

    messages = [each["message"] for each in play(story, speed=15).created]
    assert len(messages) == 26
    assert messages[-1] == "later"


def test_an_event_that_is_refused_is_lost_and_the_next_is_written() -> None:
    async def story(recorder: Recorder, store: Store) -> None:
        store.refuses = True
        recorder.record(POD, UNHEALTHY)
        await asyncio.sleep(1)
        recorder.record(POD, lifecycle.started(container()))

    assert [each["reason"] for each in play(story).created] == ["Started"]
