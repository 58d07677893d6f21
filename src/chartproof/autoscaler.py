"""Typed view of what scales a workload: KEDA's ScaledObject, or a HorizontalPodAutoscaler.

Defaults are the controllers' own (KEDA v2.21.0 `apis/keda/v1alpha1`, Kubernetes
`pkg/controller/podautoscaler`). Nothing here judges: what cannot be read is None or empty, and the
raw text stays available.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from chartproof.languages.formula import Formula, FormulaError, UnjudgedError, compile_formula, names
from chartproof.languages.promql import PromqlError, Query
from chartproof.languages.promql import parse as parse_promql
from chartproof.languages.quantity import QuantityError, parse_quantity
from chartproof.release import Document, Release, dig, once_per_release
from chartproof.versions import Version, parse_version
from chartproof.workload import EngineContainer, engine_containers

KINDS = ("ScaledObject", "HorizontalPodAutoscaler")

DEFAULT_POLLING_SECONDS = 30.0
DEFAULT_COOLDOWN_SECONDS = 300.0
DEFAULT_MAXIMUM = 100
#: The controller manager's `--horizontal-pod-autoscaler-downscale-stabilization`.
DEFAULT_SCALE_DOWN_WINDOW_SECONDS = 300.0

#: Trigger types whose value the HPA takes from the metrics API: they stay out of the formula.
RESOURCE_TYPES = frozenset({"cpu", "memory"})
#: Trigger types that ask another program, over gRPC.
EXTERNAL_TYPES = frozenset({"external", "external-push"})
_KEDA_IMAGE = re.compile(r"(^|/)keda(-operator)?$")


@dataclass(frozen=True)
class Trigger:
    """One trigger of a ScaledObject. `path` leads to it inside the document."""

    index: int
    type: str
    name: str
    metadata: Mapping[str, str]
    metric_type: str
    use_cached_metrics: bool
    authentication: str
    path: str

    @property
    def label(self) -> str:
        """How messages call it."""
        return f"trigger {self.name!r}" if self.name else f"trigger {self.index} ({self.type})"

    @property
    def is_prometheus(self) -> bool:
        """Whether it asks Prometheus."""
        return self.type == "prometheus"

    @property
    def is_cron(self) -> bool:
        """Whether it is a cron."""
        return self.type == "cron"

    @property
    def is_resource(self) -> bool:
        """Whether it is cpu or memory."""
        return self.type in RESOURCE_TYPES

    @property
    def query_text(self) -> str:
        """The PromQL of a Prometheus trigger, empty for others."""
        return self.metadata.get("query", "") if self.is_prometheus else ""

    @cached_property
    def query(self) -> Query | None:
        """The parsed PromQL; None where there is none or it does not parse."""
        try:
            return parse_promql(self.query_text) if self.query_text.strip() else None
        except PromqlError:
            return None

    def number(self, key: str) -> float | None:
        """A metadata value as a number, None where absent or no number."""
        return number_of(self.metadata.get(key))

    @property
    def threshold(self) -> float | None:
        """Target per replica (`threshold`, `targetValue`, ...), None where unreadable."""
        for key in ("threshold", "targetValue", "value"):
            if key in self.metadata:
                return self.number(key)
        return None

    @property
    def activation_threshold(self) -> float:
        """Value above which (strictly) the trigger is active; 0 by default or where unreadable."""
        for key in ("activationThreshold", "activationTargetValue", "activationValue"):
            if key in self.metadata:
                return self.number(key) or 0.0
        return 0.0

    @property
    def ignores_null_values(self) -> bool:
        """Whether an empty result counts as 0 (KEDA's default for Prometheus)."""
        return self.metadata.get("ignoreNullValues", "true").strip().lower() not in {"false", "f", "0"}


@dataclass(frozen=True, slots=True)
class ScalingModifiers:
    """`spec.advanced.scalingModifiers`. Target and activation are kept as written."""

    formula: str
    target_text: str
    activation_text: str
    metric_type: str
    path: str = "spec.advanced.scalingModifiers"

    @property
    def target(self) -> float | None:
        """Target per replica, None where unreadable."""
        return number_of(self.target_text)

    @property
    def activation(self) -> float | None:
        """Value above which (strictly) it is active: 0 where empty, None where no number."""
        return number_of(self.activation_text) if self.activation_text else 0.0


@dataclass(frozen=True, slots=True)
class Fallback:
    """`spec.fallback`."""

    failure_threshold: int | None
    replicas: int | None
    behavior: str
    path: str = "spec.fallback"


@dataclass(frozen=True, slots=True)
class Policy:
    """One scaling policy: `value` Pods or Percent per `period_seconds`."""

    type: str
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """`behavior.scaleUp` or `behavior.scaleDown`; None and empty where left to the controller."""

    window_seconds: float | None = None
    select_policy: str = "Max"
    policies: tuple[Policy, ...] = ()


@dataclass(frozen=True, slots=True)
class HpaMetric:
    """One metric of a HorizontalPodAutoscaler: `source` Resource, Pods, Object or External."""

    source: str
    name: str
    target_type: str
    target: float | None
    selector: Mapping[str, Any]
    path: str


@dataclass(frozen=True)
class Autoscaler:
    """A ScaledObject or HorizontalPodAutoscaler and what it scales.

    `target` is the scaled document where the release has it. `metrics` are those of an HPA,
    `triggers` and the fields below those of a ScaledObject.
    """

    document: Document
    target_kind: str
    target_name: str
    target: Document | None
    minimum: int | None
    maximum: int | None
    idle: int | None
    polling_seconds: float
    cooldown_seconds: float
    initial_cooldown_seconds: float | None
    triggers: tuple[Trigger, ...]
    modifiers: ScalingModifiers | None
    fallback: Fallback | None
    scale_up: ScalingRules
    scale_down: ScalingRules
    metrics: tuple[HpaMetric, ...] = field(default=())

    @property
    def is_keda(self) -> bool:
        """Whether KEDA runs it."""
        return self.document.kind == "ScaledObject"

    @cached_property
    def engines(self) -> tuple[EngineContainer, ...]:
        """Engine containers of the scaled workload."""
        return tuple(engine_containers(self.target)) if self.target is not None else ()

    @property
    def scales_to_zero(self) -> bool:
        """Whether no replica may be left when nothing is active."""
        return self.is_keda and (self.minimum == 0 or self.idle == 0)

    @property
    def scale_down_window_seconds(self) -> float:
        """Stabilisation window of scaling down, with the controller's default."""
        window = self.scale_down.window_seconds
        return DEFAULT_SCALE_DOWN_WINDOW_SECONDS if window is None else window

    def trigger(self, name: str) -> Trigger | None:
        """The trigger of this name."""
        return next((each for each in self.triggers if each.name == name), None)

    @cached_property
    def formula_names(self) -> frozenset[str]:
        """Names that the formula reads; empty without one that KEDA accepts."""
        return names(self.formula.tree) if self.formula is not None else frozenset()

    @cached_property
    def formula(self) -> Formula | None:
        """The compiled formula; None without one or where KEDA refuses it."""
        if self.modifiers is None:
            return None
        try:
            return compile_formula(self.modifiers.formula, self.formula_trigger_names)
        except (FormulaError, UnjudgedError):
            return None

    @property
    def formula_trigger_names(self) -> tuple[str, ...]:
        """Names that a formula may use: those of triggers other than cpu and memory."""
        return tuple(each.name for each in self.triggers if each.name and not each.is_resource)

    @property
    def effective_triggers(self) -> tuple[Trigger, ...]:
        """Triggers whose value decides: those the formula reads, or all without one that KEDA accepts."""
        if self.formula is None:
            return self.triggers
        return tuple(each for each in self.triggers if each.name in self.formula_names or each.is_resource)


def number_of(value: object) -> float | None:
    """A number as Go's ParseFloat takes it, None for anything else (NaN and infinities included)."""
    try:
        number = float(str(value).strip()) if value is not None and not isinstance(value, bool) else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None


def autoscalers(release: Release) -> Iterator[Autoscaler]:
    """Every ScaledObject and HorizontalPodAutoscaler of a release."""
    for document in release.of_kind(*KINDS):
        yield autoscaler(document, release)


def autoscaler(document: Document, release: Release) -> Autoscaler:
    """The view of one ScaledObject or HorizontalPodAutoscaler."""
    reference = document.get("spec", "scaleTargetRef", default={})
    kind = str(dig(reference, "kind", default="Deployment"))
    name = str(dig(reference, "name", default=""))
    target = _find_target(release, document, kind, name)
    return (
        _scaled_object(document, kind, name, target)
        if document.kind == "ScaledObject"
        else _hpa(document, kind, name, target)
    )


@once_per_release
def keda_version(release: Release) -> Version | None:
    """Version of KEDA where the release says it: the operator's image, else None."""
    for workload in release.workloads:
        for pod in workload.pod_templates:
            for container in pod.containers():
                repository, _, tag = str(container.get("image") or "").partition("@")[0].rpartition(":")
                if _KEDA_IMAGE.search(repository):
                    return parse_version(tag)
    return None


def _find_target(release: Release, document: Document, kind: str, name: str) -> Document | None:
    for each in release.of_kind(kind):
        # In plain manifests a missing namespace is decided when they are applied, so it fits any.
        unknown = not release.argv and not (each.namespace and document.namespace)
        if each.name == name and (unknown or release.namespace_of(each) == release.namespace_of(document)):
            return each
    return None


def _scaled_object(document: Document, kind: str, name: str, target: Document | None) -> Autoscaler:
    spec = document.get("spec", default={})
    behavior = dig(spec, "advanced", "horizontalPodAutoscalerConfig", "behavior", default={})
    return Autoscaler(
        document=document,
        target_kind=kind,
        target_name=name,
        target=target,
        minimum=_integer(dig(spec, "minReplicaCount"), 0),
        maximum=_integer(dig(spec, "maxReplicaCount"), DEFAULT_MAXIMUM),
        idle=_integer(dig(spec, "idleReplicaCount"), None),
        polling_seconds=_seconds(dig(spec, "pollingInterval"), DEFAULT_POLLING_SECONDS),
        cooldown_seconds=_seconds(dig(spec, "cooldownPeriod"), DEFAULT_COOLDOWN_SECONDS),
        initial_cooldown_seconds=number_of(dig(spec, "initialCooldownPeriod")),
        triggers=tuple(_triggers(spec)),
        modifiers=_modifiers(spec),
        fallback=_fallback(spec),
        scale_up=_rules(dig(behavior, "scaleUp")),
        scale_down=_rules(dig(behavior, "scaleDown")),
    )


def _hpa(document: Document, kind: str, name: str, target: Document | None) -> Autoscaler:
    spec = document.get("spec", default={})
    return Autoscaler(
        document=document,
        target_kind=kind,
        target_name=name,
        target=target,
        minimum=_integer(dig(spec, "minReplicas"), 1),
        maximum=_integer(dig(spec, "maxReplicas"), None),
        idle=None,
        polling_seconds=DEFAULT_POLLING_SECONDS,
        cooldown_seconds=DEFAULT_COOLDOWN_SECONDS,
        initial_cooldown_seconds=None,
        triggers=(),
        modifiers=None,
        fallback=None,
        scale_up=_rules(dig(spec, "behavior", "scaleUp")),
        scale_down=_rules(dig(spec, "behavior", "scaleDown")),
        metrics=tuple(_hpa_metrics(spec)),
    )


def _triggers(spec: Any) -> Iterator[Trigger]:
    for index, each in enumerate(_list(dig(spec, "triggers"))):
        if not isinstance(each, Mapping):
            continue
        metadata = each.get("metadata") or {}
        yield Trigger(
            index=index,
            type=str(each.get("type") or ""),
            name=str(each.get("name") or ""),
            metadata={str(key): _text(value) for key, value in metadata.items()}
            if isinstance(metadata, Mapping)
            else {},
            metric_type=str(each.get("metricType") or ""),
            use_cached_metrics=each.get("useCachedMetrics") is True,
            authentication=str(dig(each, "authenticationRef", "name", default="")),
            path=f"spec.triggers[{index}]",
        )


def _modifiers(spec: Any) -> ScalingModifiers | None:
    found = dig(spec, "advanced", "scalingModifiers")
    if not isinstance(found, Mapping) or not found:
        return None
    return ScalingModifiers(
        formula=str(found.get("formula") or ""),
        target_text=_text(found.get("target")),
        activation_text=_text(found.get("activationTarget")),
        metric_type=str(found.get("metricType") or "AverageValue"),
    )


def _fallback(spec: Any) -> Fallback | None:
    found = dig(spec, "fallback")
    if not isinstance(found, Mapping):
        return None
    return Fallback(
        failure_threshold=_integer(found.get("failureThreshold"), None),
        replicas=_integer(found.get("replicas"), None),
        behavior=str(found.get("behavior") or "static"),
    )


def _rules(found: Any) -> ScalingRules:
    if not isinstance(found, Mapping):
        return ScalingRules()
    policies = tuple(
        Policy(
            str(each.get("type") or ""),
            _integer(each.get("value"), 0) or 0,
            _integer(each.get("periodSeconds"), 0) or 0,
        )
        for each in _list(found.get("policies"))
        if isinstance(each, Mapping)
    )
    return ScalingRules(
        number_of(found.get("stabilizationWindowSeconds")), str(found.get("selectPolicy") or "Max"), policies
    )


def _hpa_metrics(spec: Any) -> Iterator[HpaMetric]:
    utilization = dig(spec, "targetCPUUtilizationPercentage")
    if utilization is not None:
        path = "spec.targetCPUUtilizationPercentage"
        yield HpaMetric("Resource", "cpu", "Utilization", number_of(utilization), {}, path)
    sources = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object"}
    for index, each in enumerate(_list(dig(spec, "metrics"))):
        source = str(dig(each, "type", default=""))
        body = dig(each, sources.get(source, "external"), default={})
        target = dig(body, "target", default={})
        kind = str(dig(target, "type", default=""))
        keys = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}
        yield HpaMetric(
            source=source,
            name=str(dig(body, "metric", "name", default=dig(body, "name", default=""))),
            target_type=kind,
            target=_quantity(dig(target, keys.get(kind, "value"))),
            selector=dig(body, "metric", "selector", default={}),
            path=f"spec.metrics[{index}]",
        )


def _quantity(value: Any) -> float | None:
    try:
        return float(parse_quantity(value)) if value is not None else None
    except QuantityError:
        return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, Mapping | list) else str(value)


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _integer(value: Any, default: int | None) -> int | None:
    if value is None:
        return default
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _seconds(value: Any, default: float) -> float:
    number = number_of(value)
    return default if number is None else number
