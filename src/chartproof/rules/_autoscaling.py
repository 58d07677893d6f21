"""What rules ask about one autoscaler: its cold start, its capacity, where its signals come from."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from chartproof.autoscaler import Autoscaler, Trigger, autoscaler
from chartproof.languages.formula import Bounds, FormulaError, UnjudgedError
from chartproof.languages.promql import Query, Range
from chartproof.metrics import is_engine_series, metric_of
from chartproof.plan import WorkloadPlan, plan_workload
from chartproof.release import Document, Release
from chartproof.rules.registry import Context

SCALED_OBJECT = ("ScaledObject",)
AUTOSCALERS = ("ScaledObject", "HorizontalPodAutoscaler")
#: No model server on a new GPU node is ready sooner: node claim 13 s, boot 40 s, image pull 23 s and engine start
#: 70 s at best (sources: the catalog's engines.yaml). Used where the model is unknown.
LEAST_COLD_START_SECONDS = 120.0
#: Metrics of the cluster's own state: they say what is, not what is asked for.
_STATE_PREFIXES = ("kube_", "up", "container_", "node_", "keda_", "karpenter_", "DCGM_")
_MUCH_LOAD = 1000.0


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds until a replica on a new node is ready, and whether a plan of this model says so."""

    seconds: float
    planned: bool

    def __str__(self) -> str:
        """As messages name it."""
        if self.planned:
            return f"the planned cold start of {self.seconds:.0f} s"
        return f"the {self.seconds:.0f} s that any model server on a new GPU node takes"


def view(document: Document, context: Context) -> Autoscaler:
    """The autoscaler that a document describes."""
    return autoscaler(document, context.release)


def plan_of(scaler: Autoscaler, release: Release) -> WorkloadPlan | None:
    """The plan of the scaled engine, None where there is none or its model is unknown."""
    return plan_workload(scaler.engines[0], release) if scaler.engines else None


def cold_start(scaler: Autoscaler, release: Release) -> ColdStart | None:
    """Cold start of a replica; None where what is scaled is no model server."""
    if not serves_a_model(scaler):
        return None
    plan = plan_of(scaler, release)
    if plan is None:
        return ColdStart(LEAST_COLD_START_SECONDS, planned=False)
    return ColdStart(plan.cold_start.seconds, planned=True)


def serves_a_model(scaler: Autoscaler) -> bool:
    """Whether it scales an engine: the workload shows it, or its signals do where the workload is elsewhere."""
    if scaler.target is not None:
        return bool(scaler.engines)
    return any(is_engine_signal(each) for each in scaler.triggers)


def engine_selectors(query: Query | None) -> bool:
    """Whether a query reads series that only replicas of an engine export."""
    return query is not None and any(is_engine_series(each) for each in query.metrics)


def is_engine_signal(trigger: Trigger) -> bool:
    """Whether the trigger's value comes from the replicas themselves, so that it is lost with them."""
    if trigger.is_prometheus:
        return engine_selectors(trigger.query)
    return any(f"{engine}:" in trigger.metadata.get("metricQuery", "") for engine in ("vllm", "sglang"))


def shows_demand(trigger: Trigger) -> bool:
    """Whether the trigger can rise while there is no replica: something outside the replicas counts demand."""
    if trigger.is_resource or trigger.is_cron:
        return False
    if trigger.is_prometheus:
        query = trigger.query
        if query is None:
            return True
        return any(
            not is_engine_series(each) and not each.startswith(_STATE_PREFIXES) for each in query.metrics
        ) or any(not each.metric for each in query.selectors)
    return not is_engine_signal(trigger)


def load_of(trigger: Trigger) -> frozenset[str]:
    """What a trigger's query counts of an engine's load: `running`, `waiting`, both or nothing."""
    if trigger.query is None:
        text = trigger.metadata.get("metricQuery", "")
        found = {"running": "num_requests_running", "waiting": "num_requests_waiting"}
        return frozenset(kind for kind, name in found.items() if name in text)
    return load_of_query(trigger.query)


def load_of_query(query: Query) -> frozenset[str]:
    """What a query counts of an engine's load: `running`, `waiting`, both or nothing."""
    metrics = [metric_of(each) for each in query.metrics]
    return frozenset(each.load for each in metrics if each is not None and each.load)


def requests_per_replica(scaler: Autoscaler) -> tuple[float, str] | None:
    """Running requests per replica that the autoscaler aims at, and the path of the target; None where unclear.

    With a formula: its slope over the triggers that count running requests. Without one: the
    threshold of such a trigger.
    """
    running = [each for each in scaler.effective_triggers if "running" in load_of(each)]
    if scaler.modifiers is not None:
        target = scaler.modifiers.target
        if scaler.formula is None or not target or not running:
            return None
        values: dict[str, float | None] = dict.fromkeys(scaler.formula_trigger_names, 0.0)
        values[running[0].name] = _MUCH_LOAD
        try:
            result = scaler.formula.run(values).value
        except (FormulaError, UnjudgedError):
            return None
        slope = (result or 0.0) / _MUCH_LOAD
        return (target / slope, f"{scaler.modifiers.path}.target") if slope > 0 else None
    for each in running:
        query = each.query
        if each.threshold and each.metric_type in {"", "AverageValue"} and query and query.outer_aggregation == "sum":
            return each.threshold, f"{each.path}.metadata.threshold"
    return None


def prometheus_triggers(scaler: Autoscaler) -> Iterator[Trigger]:
    """Triggers that ask Prometheus."""
    return (each for each in scaler.triggers if each.is_prometheus)


def query_path(trigger: Trigger) -> str:
    """Where a trigger's query is."""
    return f"{trigger.path}.metadata.query"


@cache
def scaler_keys() -> Mapping[str, Mapping[str, Any]]:
    """KEDA's trigger types, and the metadata keys of each (KEDA v2.21.0 `schema/generated/scalers-schema.json`)."""
    text = resources.files("chartproof").joinpath("data/keda_scalers.json").read_text(encoding="utf-8")
    scalers: Mapping[str, Mapping[str, Any]] = json.loads(text)["scalers"]
    return scalers


def trigger_bounds(scaler: Autoscaler) -> Mapping[str, Bounds]:
    """Bounds of the triggers' values by name, where a query says more than "not negative"."""
    found = {}
    for trigger in scaler.triggers:
        if trigger.name and trigger.query is not None:
            values = trigger.query.range(_certain_range)
            low = values.low if trigger.query.never_empty or not trigger.ignores_null_values else min(0.0, values.low)
            found[trigger.name] = Bounds(low, values.high)
    return found


def _certain_range(series: str) -> Range | None:
    metric = metric_of(series)
    if metric is not None and metric.unit == "ratio":
        return Range(0.0, 1.0)
    return Range(0.0, math.inf)
