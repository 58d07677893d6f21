from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chartproof.release import Release
from chartproof.schema import check_schemas


def test_a_violation_says_what_is_wrong_where_and_what_to_write(
    messages: list[dict[str, Any]], release: Callable[..., Release]
) -> None:
    found = check_schemas([release(*(case["body"] for case in messages))])["release"]
    by_document: dict[str, list[dict[str, str]]] = {}
    for each in found:
        said = {"path": each.path, "message": each.message, "hint": each.hint}
        by_document.setdefault(each.source, []).append(said)
    expected = {
        f"release.yaml:{index}": [{key: case[key] for key in ("path", "message", "hint")}]
        for index, case in enumerate(messages)
    }
    assert len(expected) >= 20
    assert by_document == expected


def test_every_violation_of_an_object_is_reported_once(
    good: Callable[[str], dict[str, Any]], release: Callable[..., Release]
) -> None:
    body = good("apps/deployment_v1")
    container = "spec.template.spec.containers[0]"
    body["spec"]["replicas"] = "2"
    body["spec"]["template"]["spec"]["containers"][0] |= {"image": 1, "comand": []}
    found = check_schemas([release(body)])["release"]
    assert [each.path for each in found] == ["spec.replicas", f"{container}.comand", f"{container}.image"]


def test_an_item_of_a_name_that_is_taken_is_a_violation(
    repetitions: dict[str, dict[str, Any]], release: Callable[..., Release]
) -> None:
    releases = [release(case["body"], name=name) for name, case in repetitions.items()]
    found = check_schemas(releases)
    said = {name: [(each.rule, each.path) for each in findings] for name, findings in found.items()}
    assert said == {
        name: [("LLM013", case["repeated"])] if case["repeated"] else [] for name, case in repetitions.items()
    }


def test_a_repeated_item_is_named_with_the_one_it_repeats(
    good: Callable[[str], dict[str, Any]], release: Callable[..., Release]
) -> None:
    body = good("core/service_v1")
    body["spec"]["ports"].append({"name": "other", "port": 80})
    (finding,) = check_schemas([release(body)])["release"]
    assert finding.message == 'a second item with port 80, protocol "TCP"'
    assert finding.hint == "merge it with spec.ports[0]: server-side apply, Helm 4's default, refuses two"
