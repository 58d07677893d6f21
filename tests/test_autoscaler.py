from __future__ import annotations

from typing import Any

import yaml

from chartproof.autoscaler import Autoscaler, autoscalers, keda_version
from chartproof.release import Document, Release

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: llm}
spec:
  template:
    spec:
      containers:
        - {name: engine, image: vllm/vllm-openai:v0.33.0, command: [vllm, serve], args: [org/model]}
"""
SCALED = """
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: llm}
spec:
  scaleTargetRef: {name: llm}
  advanced:
    scalingModifiers: {formula: "max(running, office * 25)", target: "25"}
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp: {policies: [{type: Percent, value: 900, periodSeconds: 15}]}
  fallback: {failureThreshold: 3, replicas: 2}
  triggers:
    - {type: prometheus, name: running, metadata: {query: "sum(a)", threshold: 5, ignoreNullValues: false}}
    - {type: cron, name: office, metadata: {timezone: UTC, start: 0 8 * * *, end: 0 9 * * *, desiredReplicas: "1"}}
    - {type: prometheus, name: unused, metadata: {query: "sum(", threshold: "x"}}
    - {type: cpu, metricType: Utilization, metadata: {value: "80"}}
"""


def release(*texts: str) -> Release:
    bodies: list[Any] = [each for text in texts for each in yaml.safe_load_all(text)]
    return Release("r", tuple(Document(body) for body in bodies))


def view(*texts: str) -> Autoscaler:
    (found,) = autoscalers(release(*texts))
    return found


def test_a_scaled_object_finds_its_workload_and_its_engine() -> None:
    found = view(DEPLOYMENT, SCALED)
    assert found.target is not None
    assert [each.engine for each in found.engines] == ["vllm"]


def test_what_is_left_out_has_kedas_defaults() -> None:
    found = view(SCALED)
    assert (found.minimum, found.maximum, found.idle) == (0, 100, None)
    assert (found.polling_seconds, found.cooldown_seconds, found.initial_cooldown_seconds) == (30, 300, None)
    assert found.scale_down_window_seconds == 300
    assert found.scales_to_zero


def test_triggers_keep_their_metadata_as_text() -> None:
    running, office, unused, cpu = view(SCALED).triggers
    assert (running.threshold, running.ignores_null_values) == (5, False)
    assert running.query is not None
    assert office.is_cron
    assert (unused.query, unused.threshold, unused.ignores_null_values) == (None, None, True)
    assert cpu.is_resource


def test_only_triggers_that_the_formula_reads_count() -> None:
    found = view(SCALED)
    assert found.formula is not None
    assert [each.name or each.type for each in found.effective_triggers] == ["running", "office", "cpu"]
    assert found.formula_trigger_names == ("running", "office", "unused")


def test_an_hpa_has_metrics_instead_of_triggers() -> None:
    found = view("""
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: llm}
spec:
  scaleTargetRef: {kind: Deployment, name: llm}
  maxReplicas: 4
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}
    - type: External
      external:
        metric: {name: vllm_num_requests_waiting, selector: {matchLabels: {model_name: m}}}
        target: {type: AverageValue, averageValue: 1500m}
""")
    assert [(each.source, each.name, each.target) for each in found.metrics] == [
        ("Resource", "cpu", 80),
        ("External", "vllm_num_requests_waiting", 1.5),
    ]
    assert (found.minimum, found.maximum, found.scales_to_zero) == (1, 4, False)


def test_nonsense_is_unknown_rather_than_an_error() -> None:
    found = view("""
kind: ScaledObject
metadata: {name: llm}
spec: {minReplicaCount: "two", triggers: [3, {type: null}], advanced: {scalingModifiers: {formula: "a +", target: x}}}
""")
    assert found.minimum is None
    assert found.formula is None
    assert found.modifiers is not None
    assert found.modifiers.target is None
    assert [each.type for each in found.triggers] == [""]


def test_the_operators_image_tells_kedas_version() -> None:
    operator = DEPLOYMENT.replace("vllm/vllm-openai:v0.33.0", "ghcr.io/kedacore/keda:2.17.2@sha256:abc")
    assert keda_version(release(operator)) == (2, 17, 2)
    assert keda_version(release(DEPLOYMENT)) is None
