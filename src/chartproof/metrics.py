"""What each exporter exports: series, labels, types, units and ranges, by version.

The contracts are data (`data/*_metrics.json`); each file names its public source.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from importlib import resources
from typing import Any

from chartproof.versions import Version, format_version, parse_version

EXPORTERS = ("vllm", "sglang", "dcgm")
#: Labels that Prometheus and its operator add to what is scraped, and those a federation adds.
TARGET_LABELS = frozenset(
    {"job", "instance", "namespace", "pod", "container", "service", "endpoint", "node", "metrics_path", "app"}
    | {"cluster", "cluster_id", "cluster_name", "region", "zone", "env", "environment", "stage", "tenant"}
    | {"prometheus", "prometheus_replica", "prometheus_group", "exported_job", "exported_instance", "host", "hostname"}
    | {"exported_namespace", "exported_pod", "exported_container", "kubernetes_namespace", "kubernetes_pod_name"}
    | {"node_name", "pod_name", "container_name", "service_name", "job_name", "app_name", "namespace_name"}
    | {"le", "quantile", "__name__", "workload", "workload_type", "team", "deployment_environment"}
)
#: Labels that people write for `model_name`.
MISTAKEN_MODEL_LABELS = frozenset(
    {"model", "model_id", "modelname", "modelName", "served_model_name", "model_version", "served_model", "llm_model"}
)
#: Endings that an exporter library puts behind the name in code.
_ENDINGS = ("_bucket", "_sum", "_count", "_total", "_created")


class Presence(Enum):
    """Whether an exporter's version has a series."""

    EXPORTED = "exported"
    UNKNOWN = "unknown"
    TOO_NEW = "too new"
    REMOVED = "removed"
    HIDDEN = "hidden"


@dataclass(frozen=True)
class Metric:
    """One metric of an exporter.

    `series` are the names as scraped, `labels` its own labels (`*`: any), `unit` empty where it is
    a plain count, `low` and `high` the range a sensible threshold lies in, `values` the closed sets
    of label values, `load` what it says of an engine's load (`running`, `waiting` or empty),
    `condition` the option or component without which it does not exist.
    """

    name: str
    type: str
    series: tuple[str, ...]
    labels: frozenset[str]
    unit: str = ""
    low: float | None = None
    high: float | None = None
    since: Version | None = None
    condition: str = ""
    load: str = ""
    values: Mapping[str, tuple[str, ...]] | None = None

    @property
    def is_counter(self) -> bool:
        """Whether its plain series only grows."""
        return self.type == "counter"

    def grows(self, series: str) -> bool:
        """Whether this series of it is cumulative: a counter, or part of a histogram or summary."""
        return self.is_counter or (self.type in {"histogram", "summary"} and series != self.name)

    def has_label(self, label: str) -> bool:
        """Whether the metric itself has the label."""
        return "*" in self.labels or label in self.labels


@dataclass(frozen=True, slots=True)
class Removed:
    """A metric that is gone: from which version on, hidden from which on, and what replaces it."""

    name: str
    until: Version
    hidden_since: Version | None
    since: Version | None
    replacement: str


@dataclass(frozen=True, slots=True)
class Lookup:
    """Answer for one series: `presence`, the metric where it is known, and what to write instead."""

    presence: Presence
    series: str
    metric: Metric | None = None
    suggestion: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Contract:
    """All metrics of one exporter as of `version`, and those it once had."""

    exporter: str
    prefix: str
    version: Version
    metrics: Mapping[str, Metric]
    removed: Mapping[str, Removed]
    #: Series of a router in front of the engine that uses the same prefix; they exist without any replica.
    router_series: frozenset[str] = frozenset()

    @cached_property
    def _by_series(self) -> Mapping[str, Metric]:
        return {series: metric for metric in self.metrics.values() for series in metric.series}

    def metric_of(self, series: str) -> Metric | None:
        """The metric a scraped name belongs to (`_created` series included), or None."""
        found = self._by_series.get(series)
        if found is None and series.endswith("_created"):
            found = self.metrics.get(series.removesuffix("_created"))
        return found

    def look_up(self, series: str, version: Version | None = None) -> Lookup:
        """Whether `version` of the exporter (default: the newest known) has the series."""
        version = version or self.version
        if series in self.router_series:
            return Lookup(Presence.EXPORTED, series)
        removed = self._removed(series)
        if removed is not None:
            return self._look_up_removed(series, removed, version)
        metric = self.metric_of(series)
        if metric is None:
            return Lookup(
                Presence.UNKNOWN, series, suggestion=self.similar(series), reason=f"{self.exporter} has no such series"
            )
        if metric.since is not None and version < metric.since:
            reason = f"{self.exporter} has it since {format_version(metric.since)}, not in {format_version(version)}"
            return Lookup(Presence.TOO_NEW, series, metric, reason=reason)
        return Lookup(Presence.EXPORTED, series, metric)

    def _removed(self, series: str) -> Removed | None:
        if series in self.removed:
            return self.removed[series]
        if self.metric_of(series) is not None:
            return None  # a counter that was renamed by its ending: `x` is gone, `x_total` is there
        stem = stem_of(series)
        return self.removed.get(stem) if stem not in self.metrics else None

    def _look_up_removed(self, series: str, removed: Removed, version: Version) -> Lookup:
        metric = Metric(removed.name, "", (series,), frozenset({"*"}))
        suggestion = removed.replacement
        if suggestion.startswith(self.prefix) and stem_of(suggestion) == suggestion and series.endswith("_bucket"):
            suggestion += "_bucket"
        if version >= removed.until:
            reason = f"{self.exporter} removed it in {format_version(removed.until)}"
            return Lookup(Presence.REMOVED, series, None, suggestion, reason)
        if removed.since is not None and version < removed.since:
            reason = f"{self.exporter} has it since {format_version(removed.since)}"
            return Lookup(Presence.TOO_NEW, series, None, suggestion, reason)
        if removed.hidden_since is not None and version >= removed.hidden_since:
            reason = f"{self.exporter} hides it since {format_version(removed.hidden_since)} by default"
            return Lookup(Presence.HIDDEN, series, metric, suggestion, reason)
        return Lookup(Presence.EXPORTED, series, metric)

    def similar(self, series: str) -> str:
        """The most similar series, or empty."""
        metric = self.metrics.get(series) or self.metrics.get(stem_of(series))
        if metric is not None:
            return metric.series[0]
        found = difflib.get_close_matches(series, self._by_series, 1, cutoff=0.7)
        return found[0] if found else ""


def stem_of(series: str) -> str:
    """The name without the ending of a counter's or histogram's series."""
    for ending in _ENDINGS:
        if series.endswith(ending):
            return series.removesuffix(ending)
    return series


@cache
def contract(exporter: str) -> Contract:
    """The contract of `vllm`, `sglang` or `dcgm`."""
    text = resources.files("chartproof").joinpath(f"data/{exporter}_metrics.json").read_text(encoding="utf-8")
    data: Mapping[str, Any] = json.loads(text)
    return Contract(
        exporter=data["engine"],
        prefix=data["prefix"],
        version=_version(data["version"]) or (0, 0, 0),
        metrics={name: _metric(name, facts) for name, facts in data["metrics"].items()},
        removed={
            name: Removed(
                name,
                _version(facts["until"]) or (0, 0, 0),
                _version(facts.get("hiddenSince")),
                _version(facts.get("since")),
                facts.get("replacement", ""),
            )
            for name, facts in data["removed"].items()
        },
        router_series=frozenset(data.get("routerSeries", ())),
    )


def _metric(name: str, facts: Mapping[str, Any]) -> Metric:
    low, high = facts.get("range", (None, None))
    values = {label: tuple(allowed) for label, allowed in facts.get("values", {}).items()}
    return Metric(
        name=name,
        type=facts["type"],
        series=tuple(facts["series"]),
        labels=frozenset(facts["labels"]),
        unit=facts.get("unit", ""),
        low=low,
        high=high,
        since=_version(facts.get("since")),
        condition=facts.get("condition", ""),
        load=facts.get("load", ""),
        values=values or None,
    )


def _version(text: str | None) -> Version | None:
    return parse_version(text) if text else None


def exporter_of(series: str) -> str | None:
    """Which exporter a series name claims to come from, by its prefix; None for others.

    `vllm_num_requests_running` counts as vLLM's: the server never exports underscores for the
    colon, so the name is a mistake, except under Ray (`ray_vllm_...`), which renames.
    """
    if series.count(":") > 1:
        # level:metric:operation is how recording rules are named.
        return None
    for exporter in EXPORTERS:
        prefix = contract(exporter).prefix
        if series.startswith(prefix) or (prefix.endswith(":") and series.startswith(prefix[:-1] + "_")):
            return exporter
    return None


def look_up(series: str, versions: Mapping[str, Version | None] | None = None) -> Lookup | None:
    """`Contract.look_up` in the contract the name's prefix points to; None for other exporters' series."""
    exporter = exporter_of(series)
    if exporter is None:
        return None
    known = contract(exporter)
    colon = series
    if not series.startswith(known.prefix):
        colon = known.prefix + series[len(known.prefix) :]
        found = known.look_up(colon, (versions or {}).get(exporter))
        return Lookup(
            Presence.UNKNOWN,
            series,
            suggestion=found.suggestion or (colon if found.metric else ""),
            reason=f"{exporter} writes its names with a colon, not an underscore",
        )
    return known.look_up(series, (versions or {}).get(exporter))


def metric_of(series: str) -> Metric | None:
    """The metric of a series of any known exporter or of vLLM's HTTP instrumentation, or None."""
    for exporter in EXPORTERS:
        found = contract(exporter).metric_of(series)
        if found is not None:
            return found
    return None


def looks_cumulative(series: str) -> bool:
    """Whether a series only grows: by its contract, or by the naming convention of Prometheus."""
    metric = metric_of(series)
    if metric is not None:
        return metric.grows(series)
    return series.endswith(("_total", "_bucket")) and not re.search(
        r"(memory|mem|limit|size|capacity|allocatable|used|free)_total$|^kube_", series
    )


def is_engine_series(series: str) -> bool:
    """Whether replicas of an engine export it, so that it does not exist while there are none."""
    exporter = exporter_of(series)
    return exporter in {"vllm", "sglang"} and series not in contract(exporter).router_series


def load_metrics() -> Iterator[Metric]:
    """The metrics that say how loaded an engine is."""
    for exporter in EXPORTERS:
        yield from (metric for metric in contract(exporter).metrics.values() if metric.load)
