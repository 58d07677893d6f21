from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chartproof import kubernetes_yaml
from chartproof.release import Release
from chartproof.schema import check_schemas

((_, CASES),) = kubernetes_yaml.documents((Path(__file__).parent / "messages.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['path']}: {case['message']}")
def test_a_violation_says_what_is_wrong_where_and_what_to_write(
    case: dict[str, Any], good: Callable[[str], dict[str, Any]], release: Callable[..., Release]
) -> None:
    body = good(case["schema"])
    *above, last = case["at"]
    place: Any = body
    for step in above:
        place = place[step]
    place[last] = case["set"]
    found = check_schemas([release(body)])["release"]
    said = [{"path": each.path, "message": each.message, "hint": each.hint} for each in found]
    assert said == [{key: case[key] for key in ("path", "message", "hint")}]


def test_every_violation_of_an_object_is_reported_once(
    good: Callable[[str], dict[str, Any]], release: Callable[..., Release]
) -> None:
    body = good("apps/deployment_v1")
    container = "spec.template.spec.containers[0]"
    body["spec"]["replicas"] = "2"
    body["spec"]["template"]["spec"]["containers"][0] |= {"image": 1, "comand": []}
    found = check_schemas([release(body)])["release"]
    assert [each.path for each in found] == ["spec.replicas", f"{container}.comand", f"{container}.image"]
