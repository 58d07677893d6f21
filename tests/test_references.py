from __future__ import annotations

from typing import Any

from chartproof.references import prerequisites
from chartproof.release import Document, Release


def _release(pod: dict[str, Any], *others: dict[str, Any]) -> Release:
    workload = {"kind": "Deployment", "metadata": {"name": "engine"}, "spec": {"template": {"spec": pod}}}
    return Release("test", tuple(Document(each) for each in (workload, *others)), namespace="llm")


def _texts(release: Release) -> list[str]:
    return [str(each) for each in prerequisites(release)]


def test_every_way_a_pod_refers_to_a_secret_is_found() -> None:
    pod = {
        "imagePullSecrets": [{"name": "registry"}],
        "initContainers": [{"envFrom": [{"secretRef": {"name": "bucket"}}]}],
        "containers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "api", "key": "key"}}}]}],
        "volumes": [
            {"name": "a", "secret": {"secretName": "tls"}},
            {"name": "b", "projected": {"sources": [{"secret": {"name": "token", "items": [{"key": "t"}]}}]}},
        ],
    }
    assert _texts(_release(pod)) == [
        "Secret llm/api (key)",
        "Secret llm/bucket",
        "Secret llm/registry",
        "Secret llm/tls",
        "Secret llm/token (t)",
    ]


def test_keys_of_one_secret_come_together() -> None:
    def variable(key: str) -> dict[str, Any]:
        return {"name": key, "valueFrom": {"secretKeyRef": {"name": "api", "key": key}}}

    [found] = prerequisites(_release({"containers": [{"env": [variable("b"), variable("a")]}]}))
    assert found.keys == ("a", "b")
    assert found.body()["stringData"] == {"a": "placeholder", "b": "placeholder"}


def test_what_the_release_brings_is_no_prerequisite() -> None:
    pod = {"containers": [{"envFrom": [{"configMapRef": {"name": "settings"}}]}]}
    brought = {"kind": "ConfigMap", "metadata": {"name": "settings"}}
    assert _texts(_release(pod)) == ["ConfigMap llm/settings"]
    assert _texts(_release(pod, brought)) == []


def test_an_object_of_that_name_in_another_namespace_does_not_help() -> None:
    pod = {"containers": [{"envFrom": [{"configMapRef": {"name": "settings"}}]}]}
    elsewhere = {"kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "other"}}
    assert _texts(_release(pod, elsewhere)) == ["ConfigMap llm/settings"]


def test_what_is_optional_is_not_needed() -> None:
    pod = {"volumes": [{"name": "a", "secret": {"secretName": "tls", "optional": True}}]}
    assert _texts(_release(pod)) == []
