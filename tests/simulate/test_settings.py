from __future__ import annotations

import re
from dataclasses import replace

import pytest
import yaml

from chartproof.errors import InputError
from chartproof.manifests import release_of
from chartproof.release import Release
from chartproof.simulate.run import Subject, subject_of
from chartproof.simulate.settings import Settings, same_scaling, tunable, weight_of, weighted
from tests import presets
from tests.simulate.conftest import AUTOSCALED


@pytest.mark.parametrize(
    ("formula", "weight"),
    [
        ("running + waiting * 10", 10),
        ("max(running + 2.5*waiting, wake > 0 ? 1 : 0)", 2.5),
        ("running + waiting", 1),
        ("waiting", 1),
        ("running", None),
        ("running + waiting * waiting", None),
        ("running * waiting", None),
        ("waiting > 5 ? 10 : running", None),
        ("running + waiting * 2 * 3", None),
        ("running + waiting ** 2", None),
        ("2 * waiting * 3 + running", None),
        ("running + waiting_room * 3", None),
    ],
)
def test_the_weight_is_the_number_that_multiplies_waiting(formula: str, weight: float | None) -> None:
    assert weight_of(formula, "waiting") == weight


def test_another_weight_changes_that_number_only() -> None:
    assert weighted("max(running + waiting * 10, wake > 0 ? 1 : 0)", "waiting", 2) == (
        "max(running + waiting * 2, wake > 0 ? 1 : 0)"
    )
    assert weighted("3 * waiting + running", "waiting", 1.5) == "waiting * 1.5 + running"


def test_the_settings_are_read_from_the_rendered_object(serverless: Subject) -> None:
    found = tunable(serverless)
    spec = found.subject.autoscaler.document.body["spec"]
    assert found.current.target == float(spec["advanced"]["scalingModifiers"]["target"])
    assert found.current.maximum == spec["maxReplicaCount"]
    assert found.current.cooldown == spec["cooldownPeriod"]
    assert found.is_ours


def test_a_change_leaves_the_release_as_it_was(serverless: Subject) -> None:
    found = tunable(serverless)
    before = yaml.safe_dump(dict(serverless.autoscaler.document.body))
    changed = found.changed(replace(found.current, target=30.0, minimum=1, window=600.0))
    assert yaml.safe_dump(dict(serverless.autoscaler.document.body)) == before
    assert changed.autoscaler.minimum == 1
    assert changed.autoscaler.modifiers is not None
    assert changed.autoscaler.modifiers.target == 30
    assert changed.autoscaler.target is serverless.autoscaler.target
    same = found.document(found.current)
    assert same.body == serverless.autoscaler.document.body


CHANGES: tuple[dict[str, float], ...] = (
    {"weight": 2.0},
    {"target": 33.0},
    {"minimum": 2, "maximum": 3},
    {"window": 900.0},
    {"weight": 1.0, "target": 7.0, "window": 600.0},
    # Longer than the cold start of every preset, or the chart refuses it.
    {"cooldown": 3000.0},
)


@pytest.mark.parametrize("stem", AUTOSCALED)
@pytest.mark.parametrize("change", CHANGES, ids="+".join)
def test_the_snippet_renders_what_was_simulated(stem: str, change: dict[str, float]) -> None:
    found = tunable(subject_of(presets.render(stem)))
    if "cooldown" in change and found.current.cooldown is None:
        assert not found.subject.autoscaler.scales_to_zero
        return
    settings: Settings = replace(found.current, **change)  # type: ignore[arg-type]
    rendered = presets.render(stem, yaml.safe_dump(found.snippet(settings)))
    made = rendered.find("ScaledObject", found.subject.autoscaler.document.name)
    assert made is not None
    assert same_scaling(made, found.document(settings))


def test_two_objects_that_scale_differently_are_not_the_same(serverless: Subject) -> None:
    found = tunable(serverless)
    for change in CHANGES:
        settings: Settings = replace(found.current, **change)  # type: ignore[arg-type]
        assert not same_scaling(found.document(settings), found.document(found.current)), change


def test_terms_in_units_of_the_target_follow_it() -> None:
    found = tunable(subject_of(presets.render("qwen3-32b-g6e-12xlarge")))
    assert found.current.target is not None
    half = found.document(replace(found.current, target=found.current.target / 2))
    kept = found.subject.autoscaler.modifiers
    assert kept is not None

    def numbers(formula: str) -> list[float]:
        found = re.findall(r"(?:kv_cache|ttft) \* ([0-9.]+)|, ([0-9]+)\)", formula)
        return [float(one or other) for one, other in found]

    new = half.body["spec"]["advanced"]["scalingModifiers"]["formula"]
    assert numbers(new) == [each / 2 for each in numbers(kept.formula)]
    assert len(numbers(new)) == 3
    assert "ttft > 2 ?" in new, "a goal in seconds is no unit of the target"


FOREIGN = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat}
spec:
  selector: {matchLabels: {app: chat}}
  template:
    metadata: {labels: {app: chat}}
    spec:
      nodeSelector: {node.kubernetes.io/instance-type: g6e.xlarge}
      containers:
        - name: vllm
          image: vllm/vllm-openai:v0.33.0
          args: [--model, meta-llama/Llama-3.1-8B-Instruct, --served-model-name, chat, --max-model-len, "8192"]
          resources: {limits: {nvidia.com/gpu: "1"}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: chat, namespace: apps}
spec:
  scaleTargetRef: {name: chat}
  minReplicaCount: 1
  maxReplicaCount: 6
  triggers:
    - type: prometheus
      metadata: {serverAddress: "http://prometheus:9090", query: "sum(vllm:num_requests_running)", threshold: "60"}
"""


def foreign() -> Release:
    return release_of([("chat.yaml", each) for each in yaml.safe_load_all(FOREIGN)], "chat", "apps")


def test_of_other_manifests_the_snippet_is_a_merge_patch() -> None:
    found = tunable(subject_of(foreign()))
    assert (found.is_ours, found.current.weight, found.current.target) == (False, None, 60)
    settings = replace(found.current, target=20.0, window=900.0)
    patch = found.snippet(settings)
    assert patch["metadata"] == {"name": "chat", "namespace": "apps"}
    assert set(patch["spec"]) == {"triggers", "advanced"}
    assert found.changed(settings).autoscaler.triggers[0].threshold == 20
    assert found.changed(settings).autoscaler.scale_down_window_seconds == 900
    assert found.snippet(found.current) == {}


def test_a_formula_that_cannot_be_read_is_refused(serverless: Subject) -> None:
    body = yaml.safe_load(yaml.safe_dump(dict(serverless.autoscaler.document.body)))
    body["spec"]["advanced"]["scalingModifiers"]["formula"] = "running +"
    documents = tuple(
        replace(each, body=body) if each is serverless.autoscaler.document else each
        for each in serverless.release.documents
    )
    with pytest.raises(InputError, match="cannot be read"):
        tunable(subject_of(replace(serverless.release, documents=documents)))
