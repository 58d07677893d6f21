"""Watches that follow a server, also over its absences."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from chartproof.cluster.api import ApiError
from chartproof.cluster.machines.watch import Change, Client, Watch, path_of
from tests.cluster.machines import virtual


def body(name: str, version: int, uid: str = "") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "llm", "uid": uid or name, "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def event(kind: str, what: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": what}


Step = list[dict[str, Any]] | ApiError


class FakeServer:
    """Answers lists and watches from a script; at its end it says nothing more."""

    def __init__(self, lists: Sequence[list[dict[str, Any]] | ApiError], watches: Sequence[Step]) -> None:
        self.lists = list(lists)
        self.watches = list(watches)
        self.versions: list[str] = []

    async def get(self, path: str, **_parameters: str) -> dict[str, Any]:
        assert path == "/api/v1/pods"
        found = self.lists.pop(0)
        if isinstance(found, ApiError):
            raise found
        items = [{key: value for key, value in each.items() if key == "metadata"} for each in found]
        return {"kind": "PodList", "metadata": {"resourceVersion": "100"}, "items": items}

    async def lines(self, _path: str, **parameters: str) -> AsyncIterator[bytes]:
        self.versions.append(parameters["resourceVersion"])
        if not self.watches:
            await asyncio.sleep(1_000_000)
        found = self.watches.pop(0)
        if isinstance(found, ApiError):
            raise found
        for each in found:
            yield json.dumps(each).encode()


def follow(server: FakeServer, seconds: float = 100) -> tuple[Watch, list[tuple[str, str]]]:
    changes: list[tuple[str, str]] = []

    async def story() -> Watch:
        watch = Watch(cast("Client", server), "v1", "pods")
        watch.on_change(lambda change, what: changes.append((change, what["metadata"]["name"])))
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(seconds)
        assert watch.synced.is_set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return watch

    return virtual.run(story()), changes


def away() -> ApiError:
    return ApiError(0, "does not answer", where="test")


def test_what_is_there_and_what_changes_is_told_in_order() -> None:
    server = FakeServer(
        [[body("a", 1), body("b", 2)]],
        [[event("MODIFIED", body("a", 101)), event("DELETED", body("b", 102)), event("ADDED", body("c", 103))]],
    )
    watch, changes = follow(server)
    assert changes == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b"), ("ADDED", "c")]
    assert set(watch.objects) == {("llm", "a"), ("llm", "c")}
    assert watch.objects["llm", "a"]["kind"] == "Pod"


def test_objects_of_a_list_say_what_they_are() -> None:
    watch, _ = follow(FakeServer([[body("a", 1)]], []))
    assert (watch.objects["llm", "a"]["apiVersion"], watch.objects["llm", "a"]["kind"]) == ("v1", "Pod")


def test_after_an_absence_the_watch_goes_on_where_it_was() -> None:
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "150"}})
    server = FakeServer(
        [[body("a", 1)]],
        [[event("ADDED", body("b", 101)), bookmark], away(), away(), [event("DELETED", body("a", 160))]],
    )
    _, changes = follow(server)
    assert changes == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert server.versions == ["100", "150", "150", "150", "160"]


def test_what_was_missed_is_told_when_the_server_has_forgotten_it() -> None:
    gone = event("ERROR", {"code": 410, "message": "too old resource version"})
    server = FakeServer(
        [
            [body("kept", 1), body("changed", 2), body("gone", 3), body("replaced", 4)],
            [body("kept", 1), body("changed", 50), body("replaced", 60, uid="another"), body("new", 70)],
        ],
        [[gone]],
    )
    _, changes = follow(server)
    assert changes[4:] == [
        ("DELETED", "gone"),
        ("DELETED", "replaced"),
        ("MODIFIED", "changed"),
        ("ADDED", "replaced"),
        ("ADDED", "new"),
    ]


def test_a_kind_that_is_not_defined_yet_is_waited_for() -> None:
    server = FakeServer([ApiError(404, "not found", where="test"), away(), [body("a", 1)]], [])
    _, changes = follow(server)
    assert changes == [("ADDED", "a")]


def test_a_listener_that_fails_does_not_blind_the_others() -> None:
    told: list[str] = []

    def fail(_change: Change, _body: object) -> None:
        raise ValueError

    async def story() -> None:
        watch = Watch(cast("Client", FakeServer([[body("a", 1)]], [])), "v1", "pods")
        watch.on_change(fail)
        watch.on_change(lambda _change, what: told.append(what["metadata"]["name"]))
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(1)
        watch.on_change(lambda _change, what: told.append(f"late: {what['metadata']['name']}"))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual.run(story())
    assert told == ["a", "late: a"]


def test_paths() -> None:
    assert path_of("v1", "nodes") == "/api/v1/nodes"
    assert path_of("v1", "pods", "llm", "a", "status") == "/api/v1/namespaces/llm/pods/a/status"
    assert path_of("apps/v1", "deployments", "llm") == "/apis/apps/v1/namespaces/llm/deployments"
